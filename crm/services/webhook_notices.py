"""What an endpoint is told of one change, and how that is signed. What it may be told is decided by `feed`, as for all.

A message has ids, a version and names of fields, never a value; it is on record before anybody can send it.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from crm.audit.event import rfc3339
from crm.catalogue import BY_PATH
from crm.crypto.webhook import standard
from crm.domain.webhooks import Kind, message_id
from crm.services.feed import Feed
from crm.services.request import Request
from crm.services.webhooks import Endpoint
from crm.store.feed import Change, ChangeKind
from crm.store.unit import Store
from crm.store.webhook_messages import Message

__all__ = ["Notice", "Notices", "headers", "trial"]

_KINDS: Final = {
    ChangeKind.CHANGED: Kind.CHANGED,
    ChangeKind.MERGED: Kind.MERGED,
    ChangeKind.UNMERGED: Kind.UNMERGED,
    ChangeKind.ERASED: Kind.ERASED,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, ready to be signed. `id` is its `webhook-id`."""

    id: str
    body: bytes = field(repr=False)


class Notices:
    """Makes messages of the changes of a store."""

    def __init__(self, store: Store) -> None:
        self._feed = Feed(store)

    async def tell(self, endpoint: Endpoint, message: Message) -> Notice | None:
        """The message of a change, once on record; None where it is nothing that the endpoint wants or may know.

        Raises AuthError where the policy no longer lets its role follow changes, AuditUnavailable, StoreUnavailable,
        KeyUnavailable and Tampered.
        """
        known, kind = endpoint.registration, ChangeKind(message.kind)
        names = _wanted(message.changed, known.fields) if known.fields else message.changed
        if _KINDS[kind] not in known.kinds or (kind is ChangeKind.CHANGED and not names):
            return None
        name = message_id(endpoint.id, message.change_id)
        change = Change(
            message.position, message.change_id, message.patient_id, message.version, kind, names, message.at
        )
        told = await self._feed.tell(endpoint.actor, Request(name, "webhook"), change, named=False)
        if told is None:
            return None
        paths = [path for path in told["changed_fields"] if not known.fields or path in known.fields]
        data = {"id": told["id"], "version": told["version"], "changedFields": paths, "position": told["position"]}
        return _notice(name, _KINDS[kind], message.at, data)


def _wanted(names: frozenset[str], paths: frozenset[str]) -> frozenset[str]:
    """Those of the catalogue names that answer one of the paths, or that its field is derived from."""
    entries = [BY_PATH[path] for path in paths if path in BY_PATH]
    return names & {name for entry in entries for name in (entry.name, *entry.derived_from)}


def _notice(name: str, kind: str, at: int, data: dict[str, Any]) -> Notice:
    return Notice(name, orjson.dumps({"type": kind, "timestamp": rfc3339(at), "data": data}))


def trial(endpoint_id: str, now: int) -> Notice:
    """A message that tells of nobody, to try an endpoint out."""
    return _notice(f"msg_{endpoint_id.replace('-', '')}_test_{now}", "webhook.test", now, {})


def headers(endpoint: Endpoint, notice: Notice, now: int) -> dict[str, str]:
    """The headers of one attempt at a time (microseconds since 1970): id, timestamp, and a signature for each secret.

    While a secret is being replaced there are two of them.
    """
    timestamp = str(now // 1_000_000)
    secrets = endpoint.registration.signing(now)
    signatures = [standard(secret, notice.id, timestamp, notice.body) for secret in secrets]
    return {
        "webhook-id": notice.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }
