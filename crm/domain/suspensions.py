"""Owns what waits for staff after an unclear message of the person, and the suspension that goes with it."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from pydantic_core import to_json

from crm.domain.codes import Channel, CommunicationPurpose, SuspensionKind, SuspensionVerdict
from crm.domain.keywords import excerpt
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
    nothing. `origin` is the keyed hash of the number or mailbox it came from, in hexadecimal, as suppressions have it:
    the contact point may be another's by the time somebody reads. `purpose` and `sender` are of what it answered.
    """

    id: Id = Field(default_factory=new_id)
    kind: SuspensionKind
    message_id: ShortText
    gateway: ShortText
    channel: Channel
    contact_point_id: Id | None = None
    origin: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    purpose: CommunicationPurpose | None = None
    sender: ShortText | None = None
    text: LongText
    received_at: Instant
    verdict: SuspensionVerdict | None = None
    resolved_by: ShortText | None = None
    resolved_at: Instant | None = None


Suspensions = Annotated[list[Suspension], Field(max_length=MOST), distinct(lambda suspension: suspension.id)]


def with_one_more(stored: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The canonical `stored` ones with `new` behind them; for its sake the oldest that were read are let go.

    After those an UNCLEAR one pushes out requests for messages, so that nobody can fill the record with START. Of a
    contact point one unread request waits. Of a long text the 1,000 characters are kept in which the hint is, of
    control characters spaces. None where there is no room, or need: so many unclear ones wait that nothing is sent
    anyway, or the request waits already.
    """
    text = _UNSEEN.sub(" ", excerpt(new["text"], _LONGEST_TEXT))
    entry = parse(Suspension, {**new, "text": text}, "suspensions")
    requests = entry["kind"] == SuspensionKind.OPT_IN_REQUEST
    if requests and any(_asks_the_same(each, entry) for each in stored):
        return None
    kept = [*stored]
    while len(kept) >= MOST or len(to_json([*kept, entry])) > _ROOM:
        least = _first(kept, "verdict") if requests else _first(kept, "verdict", SuspensionKind.OPT_IN_REQUEST)
        if least is None:
            return None
        del kept[least]
    return [*kept, entry]


def _asks_the_same(other: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    unread = other["kind"] == SuspensionKind.OPT_IN_REQUEST and "verdict" not in other
    return unread and other.get("contact_point_id") == entry.get("contact_point_id")


def _first(kept: Sequence[Mapping[str, Any]], member: str, kind: SuspensionKind | None = None) -> int | None:
    """The place of the first that has the member, else of the first of the kind."""
    places = [place for place, one in enumerate(kept) if member in one]
    places += [place for place, one in enumerate(kept) if one["kind"] == kind]
    return places[0] if places else None
