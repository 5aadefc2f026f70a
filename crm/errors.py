"""Everything that can go wrong inside `crm`, as data: kinds, field paths and versions, never a patient's value.

`schema/errors.py` holds the one table from these classes to the public codes. Mistakes of the programmer are
`RuntimeError`.
"""

from collections.abc import Iterable


class CrmError(Exception):
    """The root of all refusals and failures of the service; never raised itself."""


class NotFound(CrmError):
    """No such patient, or none that this actor may know of: both look the same from outside."""


class Invalid(CrmError):
    """A submitted value breaks a rule of its field.

    `field` is the path of the input, such as `input.contactPoints.0.value`; `rule` is a short stable word, such as
    `e164`.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class VersionRequired(CrmError):
    """A change arrived without `expectedVersion`."""


class VersionConflict(CrmError):
    """The record moved on since the caller read it; `current` is the version now stored.

    `paths` are the public paths of the fields that changed since, as far as the caller may read them, sorted; None
    where that is not known, or not asked. `field` is the path of the input that names the version, where there are two.
    """

    def __init__(self, current: int, paths: Iterable[str] | None = None, field: str | None = None) -> None:
        super().__init__(f"current version is {current}")
        self.current = current
        self.field = field
        self.changed = None if paths is None else tuple(sorted(paths))
        self.paths: tuple[str, ...] = self.changed or ()


class RequestInProgress(CrmError):
    """The same request, under the same key, is being done at this moment. `retry_after` is in seconds."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__("in progress")
        self.retry_after = retry_after


class PositionExpired(CrmError):
    """The feed is not kept from this position on any more, or never had it: whoever asks has to read all anew."""


class BatchTooLarge(CrmError):
    """More ids in one call than `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} in one call")
        self.limit = limit


class RestrictedRecord(CrmError):
    """The record is restricted, and the change would overwrite what it withholds from this actor."""


class SourceOverruled(CrmError):
    """A feed would change what a higher source said; `paths` are the fields, sorted. Nothing was changed."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths: tuple[str, ...] = tuple(sorted(paths))
        super().__init__("a higher source speaks for " + ", ".join(self.paths))


class BreakGlassRequired(CrmError):
    """The purpose of use needs a break-glass grant for this record, and the caller holds none that is active."""


class Erased(CrmError):
    """The patient's keys were destroyed on request; nothing is left to read."""


class LegalHold(CrmError):
    """The record is under a legal hold, and nothing of it may be erased until that is lifted."""


class KeyUnavailable(CrmError):
    """A key that the record needs is not to be had in this process; the subclasses say why.

    Raised as it is when this process was not given the keys of a class at all. `paths` are the fields to blame, sorted,
    where they are known.
    """

    def __init__(self, text: str = "", paths: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.paths: tuple[str, ...] = tuple(sorted(paths))


class UnknownKey(KeyUnavailable):
    """Stored octets name an epoch or version that the key store does not list, even when asked again."""


class KeyDestroyed(KeyUnavailable):
    """The wrap or root key was destroyed on purpose: what was sealed under it, such as an old copy, stays sealed."""


class ProviderUnavailable(KeyUnavailable):
    """The keeper of the root keys does not answer, or refuses for now; a later try may succeed."""


class Tampered(CrmError):
    """Stored bytes do not authenticate: moved, replayed, edited or damaged. Never carries what was found."""


class AuditUnavailable(CrmError):
    """The access events could not be made durable in time, so nothing may be answered."""


class RateLimited(CrmError):
    """One person asks for more than one person may have for now. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("rate limited")
        self.retry_after = retry_after


class Overloaded(CrmError):
    """Too much waits already; refused before any work. `retry_after` is in seconds."""

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__("overloaded")
        self.retry_after = retry_after


class StoreUnavailable(Overloaded):
    """The database does not answer; the caller may try again."""


class SenderUnavailable(Overloaded):
    """What brings messages to people does not take any now; the caller may try again."""


class Unsafe(CrmError):
    """A setting, file or database state under which the service must not start; the text says which, and what to do."""
