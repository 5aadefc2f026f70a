"""The scalars that GraphQL does not have: texts with a stated form. They carry text; `crm.domain` checks the form."""

from typing import Any

import graphene
from graphql import GraphQLError, StringValueNode, Undefined, ValueNode

__all__ = ["ClockTime", "DateTime", "LanguageTag", "PartialDate", "PartialDateTime", "TimeZone"]


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
