"""Owns the code of a religion; the person's own words are plain text elsewhere."""

from typing import Annotated

from pydantic import AfterValidator, Strict

from crm.domain.shape import broken

__all__ = ["ReligionCode"]

_CODES = frozenset(str(code) for code in range(1001, 1083))


def _known(code: str) -> str:
    if code not in _CODES:
        raise broken("unknown_code")
    return code


ReligionCode = Annotated[str, Strict(), AfterValidator(_known)]
"""A code of HL7 v3-ReligiousAffiliation: 1001 to 1082, without gaps."""
