"""The scalars that GraphQL does not have: texts with a stated form. They carry text; `crm.domain` checks the form."""

from collections.abc import Mapping
from typing import Any

import graphene
from graphql import (
    GraphQLBoolean,
    GraphQLError,
    GraphQLID,
    GraphQLString,
    IntValueNode,
    StringValueNode,
    Undefined,
    ValueNode,
)

__all__ = [
    "SPECIFIED_BY", "ClockTime", "DateTime", "LanguageTag", "LogIndex", "PartialDate", "PartialDateTime", "TimeZone",
    "taken_as_is",
]  # fmt: skip


class _Text(graphene.Scalar):
    """A string on the wire and inside; refuses numbers and booleans rather than writing them out."""

    class Meta:
        abstract = True

    @staticmethod
    def serialize(value: Any) -> str:
        if isinstance(value, str):
            return value
        raise GraphQLError("not a text")

    @staticmethod
    def parse_value(value: Any) -> str:
        if isinstance(value, str):
            return value
        raise GraphQLError("not a text")

    @staticmethod
    def parse_literal(node: ValueNode, _variables: Any = None) -> Any:
        return node.value if isinstance(node, StringValueNode) else Undefined


class DateTime(_Text):
    """A point in time as RFC 3339 text; answers are in UTC (`2026-11-21T18:55:03.123456Z`), input needs an offset."""


class LogIndex(graphene.Scalar):
    """A place in a log, or its size: a whole number from 0 to 2^53 - 1, which JavaScript holds exactly."""

    @staticmethod
    def serialize(value: Any) -> int:
        if type(value) is int and 0 <= value < 2**53:
            return value
        raise GraphQLError("not a place in a log")

    @staticmethod
    def parse_value(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON does not tell 7.0 from 7
        return LogIndex.serialize(value)

    @staticmethod
    def parse_literal(node: ValueNode, _variables: Any = None) -> Any:
        digits = node.value if isinstance(node, IntValueNode) else ""
        return int(digits) if digits.isdecimal() and len(digits) < 17 and int(digits) < 2**53 else Undefined


class PartialDate(_Text):
    """A date as far as it is known: `YYYY`, `YYYY-MM` or `YYYY-MM-DD` (FHIR R4 `date`)."""


class PartialDateTime(_Text):
    """A date as far as it is known, or RFC 3339 text with seconds and offset (FHIR R4 `dateTime`)."""


class ClockTime(_Text):
    """A time of day, `HH:MM`, 00:00 to 23:59."""


class TimeZone(_Text):
    """A key of the IANA time zone database, such as `Europe/London`."""


class LanguageTag(_Text):
    """A language as a BCP 47 (RFC 5646) tag with registered subtags, such as `es-MX`, `zh-Hant` or `bfi`."""


SPECIFIED_BY: Mapping[str, str] = {
    "DateTime": "https://www.rfc-editor.org/rfc/rfc3339",
    "LanguageTag": "https://www.rfc-editor.org/info/bcp47",
    "PartialDate": "https://hl7.org/fhir/R4/datatypes.html#date",
    "PartialDateTime": "https://hl7.org/fhir/R4/datatypes.html#dateTime",
    "TimeZone": "https://www.iana.org/time-zones",
}
"""Where the form of a scalar is written down, for those that are not ours; `@specifiedBy` in the SDL."""


def taken_as_is(kind: Any) -> type | None:
    """The class of which a type takes in, and writes out, every value as it is; None where values are looked at."""
    if kind in (GraphQLString, GraphQLID):
        return str
    if kind is GraphQLBoolean:
        return bool
    own: Any = getattr(kind, "graphene_type", None)
    if not (isinstance(own, type) and issubclass(own, _Text)):
        return None
    return str if (own.serialize, own.parse_value) == (_Text.serialize, _Text.parse_value) else None
