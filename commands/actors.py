"""The actors that commands act as: the operating system vouches for whoever may run them on the server's machine."""

import getpass

from uuid_utils import uuid7

from auth.actor import Actor
from auth.purposes import Purpose
from auth.roles import Role
from crm.services.request import Request

ISSUER = "urn:heed:command"


def system_actor(org: str, role: Role = Role.INTEGRATION, purpose: Purpose = Purpose.RECORDMGT) -> Actor:
    """An actor in `role`; its subject names the account of the operating system."""
    return Actor(
        subject=f"account:{getpass.getuser()}",
        issuer=ISSUER,
        org=org,
        roles=frozenset({role}),
        purpose=purpose,
        client_id="heed-command",
        token_id=str(uuid7()),
        patient_id=None,
        expires_at=2**40,
    )


def command_request(command: str) -> Request:
    """The request of one run of a command, such as `command:import`."""
    return Request(str(uuid7()), f"command:{command}")
