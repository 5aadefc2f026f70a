"""Tokens for trying things out, and for the demo: signed by the development issuer, and sure to be accepted."""

from auth.development import DevelopmentIssuer
from auth.errors import Unauthenticated
from auth.issuers import IssuerKeys
from auth.purposes import Purpose
from auth.roles import PERSONAL, STAFF, Role
from auth.tokens import MAX_LIFETIME, TokenVerifier
from crm.errors import Unsafe
from crm.settings import Environment, Settings


def signed(
    settings: Settings,
    role: Role,
    subject: str,
    *,
    org: str,
    purpose: Purpose | None = None,
    patient: str | None = None,
    family_name: str | None = None,
    ttl: int,
) -> str:
    """A token good for `ttl` seconds. Raises `Unsafe` in production, and for what no server would accept."""
    if settings.env is Environment.PRODUCTION:
        raise Unsafe("the development issuer signs no tokens in production; use your identity provider")
    if role in PERSONAL and patient is None:
        raise Unsafe("--patient ID is needed with the roles patient and proxy")
    if patient is not None and role not in PERSONAL | STAFF:
        raise Unsafe("--patient ID goes with the roles of people, and this is one of programs")
    if family_name is not None and role not in STAFF:
        raise Unsafe("--family-name NAME goes with the roles of staff only")
    if ttl > MAX_LIFETIME:
        raise Unsafe(f"a token lives at most {MAX_LIFETIME // 3600} hours: give a smaller --ttl")
    issuer = DevelopmentIssuer(settings.data_dir)
    made = issuer.sign(role, subject, org=org, purpose=purpose, patient=patient, family_name=family_name, ttl=ttl)
    try:
        TokenVerifier([IssuerKeys(issuer.issuer, development=True)]).verify(f"Bearer {made}")
    except Unauthenticated as refusal:
        raise Unsafe(f"no server would accept this token ({refusal.reason}): see to --subject and --patient") from None
    return made
