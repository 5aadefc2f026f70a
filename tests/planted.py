"""Texts that no stored or written octet may hold, and how to look for them in any of the forms they could take."""

import base64
import re
from collections.abc import Iterable
from typing import Any

from crm.catalogue import FIELDS, Codec

__all__ = ["CLEAR", "MARK", "OPEN_VALUES", "PERSON", "PHONE", "found_in", "raw_person", "token"]

MARK = "ZqKanarie"
"""Stands in every token that is planted into a sealed field."""

CLEAR = "ZqKontrolle"
"""Stands in what is written in the clear on purpose, to see that the search finds what is there."""

PHONE = "+4477009" + "64738"
BIRTH = "1847-03-29"


def token(name: str) -> str:
    """A text for one field, such as a name or a sentence could be."""
    return f"{MARK} {name}"


def _word(name: str) -> str:
    return MARK + "".join(part.capitalize() for part in name.split("_"))


PERSON: dict[str, Any] = {
    "preferred_name": token("preferred name"),
    "names": [
        {
            "use": "OFFICIAL",
            "text": token("name text"),
            "family": _word("family"),
            "given": [_word("given"), _word("middle")],
            "prefix": [_word("prefix")],
            "suffix": [_word("suffix")],
        }
    ],
    "birth_date": BIRTH,
    "identifiers": [
        {
            "system": f"urn:{_word('system')}",
            "value": _word("value"),
            "assigner": token("assigner"),
            "type": {"text": token("type")},
        }
    ],
    "links": [{"type": "SEEALSO", "other": f"Patient/{_word('other')}"}],
    "contact_points": [
        {"system": "PHONE", "value": PHONE, "use": "MOBILE"},
        {"system": "EMAIL", "value": f"{MARK}@{MARK.lower()}.test"},
        {"system": "URL", "value": f"https://{MARK}.test/{MARK}"},
        {"system": "OTHER", "value": token("harbour")},
    ],
    "addresses": [
        {
            "text": token("address"),
            "lines": [token("line")],
            "city": token("city"),
            "district": token("district"),
            "state": token("state"),
            "postal_code": _word("code"),
            "country": _word("country"),
        }
    ],
    "access_needs": [{"kind": "OTHER", "text": token("need")}],
    "cultural_needs": [{"kind": "OTHER", "handling": token("handling"), "detail": token("detail")}],
    "instructions": f"{token('first')}\n{token('second')}",
    "case_manager": {"name": token("manager"), "reference": _word("reference"), "organisation": token("place")},
    "care_team": [token("nurse")],
    "pronouns": token("pronouns"),
    "religion": token("religion"),
}
"""What a client can submit with a token in it; fields of closed vocabularies have no room for one."""

OPEN_VALUES = {row.name for row in FIELDS if row.key_class and row.codec is not Codec.BOOL}
"""Sealed fields whose cells can hold a text at all: all but yes and no."""

_SHAPED: dict[str, Any] = {
    "names": [{"text": token("raw names"), "family": _word("raw")}],
    "identifiers": [{"system": _word("raw"), "value": _word("raw")}],
    "contact_points": [{"id": "1", "system": "EMAIL", "value": f"{MARK}@raw.test"}],
    "source_records": [{"source": _word("raw"), "id": _word("raw")}],
    "confidential_communication": {"channel": "EMAIL", "value": f"{MARK}@hidden.test"},
    "related_persons": [{"contact_points": [{"id": "2", "system": "EMAIL", "value": f"{MARK}@near.test"}]}],
}


def raw_person() -> dict[str, Any]:
    """A token in every sealed field that can hold a text, also where no client could put one."""
    return {
        row.name: _SHAPED.get(row.name, token(row.name) if row.codec is not Codec.JSON else [{"id": token(row.name)}])
        for row in FIELDS
        if row.name in OPEN_VALUES
    }


def _forms(text: str) -> Iterable[bytes]:
    """The octets by which a text is recognised: plain, wide, escaped, in other digits, backwards."""
    octets = text.encode()
    yield from (
        octets,
        octets.lower(),
        octets.upper(),
        octets[::-1],
        octets.hex().encode(),
        octets.hex().upper().encode(),
    )
    yield from (text.encode("utf-16-le"), text.encode("utf-16-be"))
    yield "".join(f"%{octet:02x}" for octet in octets).encode()
    yield "".join(f"%{octet:02X}" for octet in octets).encode()
    yield "".join(f"\\u{ord(letter):04x}" for letter in text).encode()
    for shift in range(3):
        # Octets before and after share their digits of base64 with the text's first and last ones.
        coded = base64.b64encode(bytes(shift) + octets).rstrip(b"=")
        yield coded[(shift * 8 + 5) // 6 : len(coded) - 1]


_PLANTED = re.compile(
    b"|".join(re.escape(form) for text in (MARK, PHONE[1:], BIRTH) for form in sorted({*_forms(text)}))
)
_KNOWN = re.compile(b"|".join(re.escape(form) for form in sorted({*_forms(CLEAR)})))


def found_in(octets: bytes | str, *, clear: bool = False) -> list[bytes]:
    """Where planted texts stand, each with some of what surrounds it; with `clear`, the control instead."""
    heap = octets.encode("utf-8", "surrogatepass") if isinstance(octets, str) else octets
    pattern = _KNOWN if clear else _PLANTED
    return [heap[max(place.start() - 30, 0) : place.end() + 30] for place in pattern.finditer(heap)]
