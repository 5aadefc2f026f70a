"""Owns the list of reasons for which a record draws curiosity; what follows from them is the matter of others."""

from typing import Annotated

from pydantic import Field

from crm.domain.codes import Sensitivity
from crm.domain.shape import distinct

__all__ = ["Sensitivities"]

Sensitivities = Annotated[list[Sensitivity], Field(max_length=len(Sensitivity)), distinct(str)]
