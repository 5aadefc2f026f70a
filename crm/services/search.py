"""What a search asks: one blind index, the normalised term, and how to tell a true match. Touches no store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crm.catalogue import INDEXES, Index
from crm.domain import search_terms
from crm.errors import Invalid

_INDEX: dict[str, Index] = {index.name: index for index in INDEXES}


@dataclass(frozen=True, slots=True)
class Query:
    """One exact-match search; `term` is never shown in a repr, because it is a patient's value."""

    index: Index
    term: bytes = field(repr=False)

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Whether opened values really hold the term: truncated index values let false hits through."""
        return self.term in self.index.terms(values)


def parse(by: Mapping[str, Any], region: str | None) -> Query:
    """The query of exactly one criterion: phone, email, family_name with birth_date, full_name, or identifier.

    Raises `Invalid` when there is none, more than one, or a value that cannot be looked up exactly.
    """
    given = {name: value for name, value in by.items() if value is not None}
    match sorted(given):
        case ["phone"]:
            return Query(_INDEX["phone"], search_terms.phone(given["phone"], region))
        case ["email"]:
            return Query(_INDEX["email"], search_terms.email(given["email"]))
        case ["full_name"]:
            return Query(_INDEX["full_name"], search_terms.full_name(given["full_name"]))
        case ["birth_date", "family_name"]:
            term = search_terms.family_birth_date(given["family_name"], given["birth_date"])
            return Query(_INDEX["family_birth_date"], term)
        case ["identifier"]:
            identifier = given["identifier"]
            return Query(_INDEX["identifier"], search_terms.identifier(identifier.get("system"), identifier["value"]))
        case _:
            raise Invalid("by", "exactly_one")
