"""Length-prefixed texts and identifiers, the bricks of every message that a key authenticates; holds no secret."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def lp(text: str) -> bytes:
    """`text` in UTF-8 behind its length (u16, big-endian), so that joined texts cannot be confused.

    Only logical names (organisation, entity, field, class) come here, never a patient's value: results are remembered.
    Raises ValueError when the text is longer than 65,535 octets.
    """
    octets = text.encode()
    if len(octets) > 0xFFFF:
        raise ValueError("a logical name is longer than 65,535 octets")
    return len(octets).to_bytes(2) + octets


@lru_cache(maxsize=64)
def uuid_octets(text: str) -> bytes:
    """The 16 octets of a UUID in its canonical text (RFC 9562, section 4: 36 characters, lower case).

    Strict, because two texts for the same octets would be two patients under one binding. The last few are remembered:
    each class of a record asks anew. Raises ValueError.
    """
    digits = text.replace("-", "")
    if len(text) != 36 or text[8:24:5] != "----":
        raise ValueError("not a UUID in canonical text")
    octets = bytes.fromhex(digits)
    if octets.hex() != digits:
        raise ValueError("not a UUID in canonical text")
    return octets
