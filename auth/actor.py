"""The actor: who asks, for whom, and why, as taken from one verified token. Holds no token and decides nothing."""

from dataclasses import dataclass, field

from auth.purposes import Purpose
from auth.roles import Role

__all__ = ["Actor"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A verified caller.

    `subject` and `issuer` together name the person or program (claims `sub`, `iss`), `org` the organisation whose
    records it may touch, `token_id` the token (`jti`), `client_id` the application. `purpose` is None when the caller
    stated none. `patient_id` is the one record of a caller in role patient or proxy, and None for everybody else.
    `expires_at` is in Unix seconds.

    What a token of staff says of its bearer as a person permits nothing: `own_record` is the id of their own record as
    a patient, the others are as in the standard claims `family_name` and `address` of OpenID Connect.
    """

    subject: str
    issuer: str
    org: str
    roles: frozenset[Role]
    purpose: Purpose | None
    client_id: str | None
    token_id: str
    patient_id: str | None
    expires_at: int
    own_record: str | None = None
    family_name: str | None = field(default=None, repr=False)
    postal_code: str | None = field(default=None, repr=False)
    street_address: str | None = field(default=None, repr=False)

    def __hash__(self) -> int:
        """Of what names the token: equal actors have it alike, and the rest would cost more than it tells apart."""
        return hash((self.issuer, self.subject, self.token_id))
