"""Owns what waits for staff after an unclear message of the person, and the suspension that goes with it."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from pydantic_core import to_json

from crm.domain.codes import Channel, SuspensionKind, SuspensionVerdict
from crm.domain.shape import CELL_LIMIT, Shape, distinct, parse
from crm.domain.texts import Id, LongText, ShortText, new_id
from crm.domain.times import Instant

__all__ = ["MOST", "Suspension", "Suspensions", "with_one_more"]

MOST: Final = 50
"""Messages of one person that the record keeps, those that were read included."""

_LONGEST_TEXT: Final = 1_000
_ROOM: Final = CELL_LIMIT - 1_024
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


class Suspension(Shape):
    """One message that a person has to read: the words, where they came from, and what they were taken for.

    While an UNCLEAR one has no `verdict`, nothing but emergencies is sent. An OPT_IN_REQUEST stops nothing and permits
    nothing.
    """

    id: Id = Field(default_factory=new_id)
    kind: SuspensionKind
    message_id: ShortText
    gateway: ShortText
    channel: Channel
    contact_point_id: Id | None = None
    text: LongText
    received_at: Instant
    verdict: SuspensionVerdict | None = None
    resolved_by: ShortText | None = None
    resolved_at: Instant | None = None


Suspensions = Annotated[list[Suspension], Field(max_length=MOST), distinct(lambda suspension: suspension.id)]


def with_one_more(stored: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The canonical `stored` ones with `new` behind them; for its sake the oldest that were read are let go.

    Of a long text the first 1,000 characters are kept, of control characters spaces. None where even so there is no
    room: then so many wait already that nothing is sent anyway.
    """
    text = _UNSEEN.sub(" ", new["text"])[:_LONGEST_TEXT]
    kept = [*stored, parse(Suspension, {**new, "text": text}, "suspensions")]
    while len(kept) > MOST or len(to_json(kept)) > _ROOM:
        read = next((place for place, one in enumerate(kept) if "verdict" in one), None)
        if read is None:
            return None
        del kept[read]
    return kept
