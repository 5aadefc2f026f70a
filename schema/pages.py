"""Relay connections: one page of a list, with cursors. Owns their shape, not the paging (services do that)."""

from collections.abc import Mapping
from typing import Any

import graphene

from crm.errors import Invalid
from schema.settings import Limits
from schema.types import Patient

__all__ = ["PageInfo", "PatientConnection", "as_connection", "page_size"]


class PageInfo(graphene.ObjectType):
    """Where a page stands in its list (Relay Cursor Connections, section 4)."""

    has_next_page = graphene.Boolean(required=True, description="Whether more follow.")
    has_previous_page = graphene.Boolean(required=True, description="Whether some come before.")
    start_cursor = graphene.String(description="The cursor of the first edge; null on an empty page.")
    end_cursor = graphene.String(description="The cursor of the last edge, to ask for what comes `after` it.")


class PatientEdge(graphene.ObjectType):
    """One patient of a page."""

    node = graphene.Field(Patient, required=True, description="The patient.")
    cursor = graphene.String(required=True, description="The place of this patient in the list; opaque.")


class PatientConnection(graphene.ObjectType):
    """One page of patients, in a stable order. There is no total count: it would tell too much."""

    edges = graphene.List(graphene.NonNull(PatientEdge), required=True, description="The patients of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


def as_connection(page: Any) -> Mapping[str, Any]:
    """A service's `Page` in the shape of a connection."""
    edges = [{"node": node, "cursor": cursor} for node, cursor in zip(page.nodes, page.cursors, strict=True)]
    return {
        "edges": edges,
        "page_info": {
            "has_next_page": page.has_next_page,
            "has_previous_page": page.has_previous_page,
            "start_cursor": page.cursors[0] if edges else None,
            "end_cursor": page.cursors[-1] if edges else None,
        },
    }


def page_size(first: int | None, limits: Limits) -> int:
    """How many edges to answer. Raises `Invalid` below 1 and above `limits.page`."""
    size = limits.page_default if first is None else first
    if not 1 <= size <= limits.page:
        raise Invalid("first", "out_of_range")
    return size
