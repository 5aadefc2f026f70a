"""`tokens revoke` and `tokens list`: tokens that are not believed any more, and what was revoked so far."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from auth.development import DevelopmentIssuer
from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import clock, house
from commands.log_verifying import opened
from crm.audit.event import rfc3339
from crm.delivery.revocations import tell
from crm.errors import Unsafe
from crm.services.revocations import Revocation
from crm.settings import Environment, Settings
from crm.store import revoked_tokens

__all__ = ["every", "lines", "revocation_json", "revoke"]

_TIMES = ("issued_until", "ends_at", "revoked_at")


async def revoke(
    settings: Settings, *, issuer: str | None, token_id: str | None, subject: str | None, org: str
) -> Revocation:
    """Revokes one token by its `jti`, or else all of a subject; the log of `org` says that it was done.

    Raises Unsafe for an issuer that is not configured, StoreUnavailable, AuditUnavailable.
    """
    of_issuer = _issuer(settings, issuer)
    async with house(settings) as it:
        actor, request = system_actor(org, Role.OPERATOR, Purpose.HSYSADMIN), command_request("tokens-revoke")
        revocations = it.services.revocations
        if token_id is not None:
            entry = await revocations.revoke_token(actor, request, of_issuer, token_id)
        else:
            entry = await revocations.revoke_subject(actor, request, of_issuer, subject or "")
        await tell(it.bell)
    return entry


async def every(settings: Settings, *, expired: bool) -> list[Revocation]:
    """What was revoked, in the order of time; with what has `expired` of itself on demand. Raises StoreUnavailable."""
    async with opened(settings) as database:
        now = clock()
        return [each for each in await revoked_tokens.every(database) if expired or each.ends_at > now]


def lines(found: Sequence[Revocation]) -> list[str]:
    """Tab-separated: when, what, of which issuer, up to which time of issue, by whom."""
    return [
        "\t".join((
            rfc3339(each.revoked_at),
            f"token {each.token_id}" if each.token_id is not None else f"subject {each.subject}",
            each.issuer,
            "" if each.subject is None else rfc3339(each.issued_until),
            each.revoked_by,
        ))
        for each in found
    ]  # fmt: skip


def revocation_json(entry: Revocation) -> dict[str, Any]:
    """Names as in `Revocation`, times as text; `id` is the reference of the event in the access log."""
    return {name: rfc3339(value) if name in _TIMES else value for name, value in asdict(entry).items()}


def _issuer(settings: Settings, named: str | None) -> str:
    """The issuer that is meant; one that is not configured could only be a slip, and nothing would be revoked."""
    known = [each.issuer for each in settings.issuers]
    if not known and settings.env is Environment.DEVELOPMENT:
        known = [DevelopmentIssuer(settings.data_dir).issuer.issuer]
    if named is None and len(known) == 1:
        return known[0]
    if named is None:
        raise Unsafe(f"there are {len(known)} issuers: say which one with --issuer ({', '.join(known)})")
    if named not in known:
        raise Unsafe(f"no such issuer is configured in HEED_ISSUERS; there are: {', '.join(known) or 'none'}")
    return named
