"""The blind index: a keyed hash of a normalised value, cut to the bits that the catalogue allows. Normalises nothing.

HMAC-SHA256 (RFC 2104) under HKDF-SHA256(index key, no salt, info) (RFC 5869), where info names organisation and index,
so that one value in two organisations or two indexes gives two unrelated results.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crm.crypto.aead import KEY
from crm.crypto.lengths import lp

__all__ = ["HMAC", "digest_info", "search_info", "started", "value"]


def search_info(tenant: str, entity: str, name: str) -> bytes:
    """What a search index is derived for: "BIX1" ‖ lp(tenant) ‖ lp(entity) ‖ lp(index)."""
    return b"BIX1" + lp(tenant) + lp(entity) + lp(name)


def digest_info(tenant: str, purpose: str) -> bytes:
    """What a digest is derived for that is no search: "DIG1" ‖ lp(tenant) ‖ lp(purpose)."""
    return b"DIG1" + lp(tenant) + lp(purpose)


def started(key: bytes, info: bytes) -> HMAC:
    """The HMAC under the derived key, before any input; copying it is cheaper than deriving the key again."""
    return HMAC(HKDF(SHA256(), KEY, salt=None, info=info).derive(key), SHA256())


def value(template: HMAC, normalised: bytes, bits: int = 256) -> bytes:
    """The first `bits` bits of the HMAC, in as few octets as hold them; the bits left over are zero."""
    mac = template.copy()
    mac.update(normalised)
    kept = mac.finalize()[: (bits + 7) // 8]
    spare = -bits % 8
    return kept[:-1] + bytes((kept[-1] >> spare << spare,)) if spare else kept
