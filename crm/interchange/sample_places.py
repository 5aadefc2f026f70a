"""Owns where the demo's patients live: towns, streets, time zones, and telephone numbers that reach nobody.

The numbers are those that regulators keep for fiction: Ofcom (United Kingdom), 555-01xx (North American Numbering
Plan), ARCEP (France), Bundesnetzagentur (Germany). Streets are invented; postal codes are of the right form only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PLACES", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A town, and `language`, which most people there speak.

    `mobile` and `landline` are E.164 with `#` for each digit that may be chosen freely; so is `postal_code`, where `@`
    stands for a letter.
    """

    city: str
    country: str
    time_zone: str
    language: str
    streets: tuple[str, ...]
    postal_code: str
    mobile: str
    landline: str
    state: str | None = None
    district: str | None = None


_UK_STREETS = (
    "{n} Larkspur Road",
    "{n} Old Mill Lane",
    "Flat {n}, Heron Court",
    "{n} St Brannock's Terrace",
    "{n} Quay Row",
)
_US_STREETS = (
    "{n}0 Juniper Street",
    "{n}2 Prairie Avenue Apt {n}",
    "1{n}8 Cedar Hollow Drive",
    "{n}01 Union Place #{n}",
)
_UK_MOBILE = "+447700900###"


def _uk(city: str, postal_code: str, landline: str, district: str | None = None) -> Place:
    return Place(city, "GB", "Europe/London", "en", _UK_STREETS, postal_code, _UK_MOBILE, landline, None, district)


def _us(city: str, state: str, zone: str, postal_code: str, area: str) -> Place:
    number = f"+1{area}55501##"
    return Place(city, "US", zone, "en", _US_STREETS, postal_code, number, number, state)


PLACES: Final[Mapping[str, Place]] = {
    "london": _uk("London", "E#9 #@@", "+442079460###", "Greater London"),
    "leeds": _uk("Leeds", "LS9# #@@", "+441134960###", "West Yorkshire"),
    "birmingham": _uk("Birmingham", "B9# #@@", "+441214960###", "West Midlands"),
    "glasgow": _uk("Glasgow", "G9# #@@", "+441414960###"),
    "cardiff": _uk("Cardiff", "CF9# #@@", "+442920180###"),
    "bristol": _uk("Bristol", "BS9# #@@", "+441174960###"),
    "chicago": _us("Chicago", "IL", "America/Chicago", "606##", "312"),
    "houston": _us("Houston", "TX", "America/Chicago", "770##", "713"),
    "denver": _us("Denver", "CO", "America/Denver", "802##", "303"),
    "seattle": _us("Seattle", "WA", "America/Los_Angeles", "981##", "206"),
    "new_york": _us("New York", "NY", "America/New_York", "100##", "212"),
    "lyon": Place(
        "Lyon", "FR", "Europe/Paris", "fr", ("{n} rue des Tilleuls", "{n} bis, quai de la Grenouille"), "6900#",
        "+33639980###", "+33199000###",
    ),
    "berlin": Place(
        "Berlin", "DE", "Europe/Berlin", "de", ("Lindenhofstraße {n}", "Am Fließ {n}a"), "10###",
        "+4917139200##", "+493023125###",
    ),
}  # fmt: skip
