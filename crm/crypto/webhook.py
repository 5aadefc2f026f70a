"""The signatures of webhooks: Twilio's over a form, and Standard Webhooks over any body. Compares in constant time.

Twilio (https://www.twilio.com/docs/usage/security): base64 of HMAC-SHA1 under the auth token over the address followed
by every name and value of the form, sorted. Standard Webhooks (https://www.standardwebhooks.com): base64 of HMAC-SHA256
over `id.timestamp.body`; the header holds several signatures, each `v1,` and base64, with spaces between.
"""

import base64
import hmac
import os
from collections.abc import Iterable, Sequence
from hashlib import sha1, sha256
from typing import Final

from crm.crypto.aead import KEY

__all__ = [
    "STANDARD_PREFIX",
    "TOLERANCE",
    "new_secret",
    "read_secret",
    "signed_as_standard",
    "signed_by_twilio",
    "standard",
    "twilio",
    "written",
]

STANDARD_PREFIX: Final = "whsec_"
"""What a secret of Standard Webhooks begins with where it is written down, before its base64."""

TOLERANCE: Final = 5 * 60
"""Seconds by which the timestamp of a Standard Webhook may differ from our clock, either way."""

_MOST_SIGNATURES: Final = 16


def twilio(secret: bytes, url: str, form: Iterable[tuple[str, str]]) -> str:
    """The signature of a form, given as pairs; a pair that comes twice counts once, as in Twilio's own library."""
    signed = url + "".join(f"{name}{value}" for name, value in sorted(set(form)))
    # SHA-1 is Twilio's choice; as a key is mixed in, no collision helps a forger.
    return base64.b64encode(hmac.new(secret, signed.encode("utf-8", "surrogatepass"), sha1).digest()).decode()


def signed_by_twilio(secrets: Sequence[bytes], url: str, form: Sequence[tuple[str, str]], header: str) -> bool:
    """Whether `header` (X-Twilio-Signature) is the signature of the form under one of the secrets."""
    return _equals_any([twilio(secret, url, form) for secret in secrets], [header])


def new_secret() -> bytes:
    """A fresh secret of Standard Webhooks, 32 octets (24 to 64 are allowed)."""
    return os.urandom(KEY)


def written(secret: bytes) -> str:
    """A secret as it is handed to whoever receives: `whsec_` and base64."""
    return STANDARD_PREFIX + base64.b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """What `written` wrote. Raises ValueError."""
    return base64.b64decode(text.removeprefix(STANDARD_PREFIX), validate=True)


def standard(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a body, with its `v1,`."""
    signed = b".".join((message_id.encode("utf-8", "surrogatepass"), timestamp.encode("ascii", "replace"), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, sha256).digest()).decode()


def signed_as_standard(
    secrets: Sequence[bytes], message_id: str, timestamp: str, header: str, body: bytes, *, now: int
) -> bool:
    """Whether one of the signatures in `header` (webhook-signature) is right and fresh; `now` is in Unix seconds."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    offered = [each for each in header.split(" ")[:_MOST_SIGNATURES] if each.startswith("v1,")]
    return _equals_any([standard(secret, message_id, timestamp, body) for secret in secrets], offered)


def _equals_any(right: Iterable[str], offered: Sequence[str]) -> bool:
    """Looks at all of them, so that the time tells nothing of which."""
    known = [each.encode() for each in right]
    given = [each.encode("utf-8", "surrogatepass") for each in offered]
    return bool(sum(hmac.compare_digest(one, other) for one in known for other in given))
