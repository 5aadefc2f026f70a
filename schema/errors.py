"""The one closed table from what went wrong to what a client is told; owns codes and messages, no detail of a failure.

Messages are fixed for each code, so that no patient's value, stored or submitted, can travel in one.
"""

import logging
import traceback
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from graphql import GraphQLError

from auth import errors as auth_errors
from crm import errors as crm_errors

__all__ = ["DESCRIPTIONS", "TABLE", "Code", "Problem", "RateLimited", "Refused", "code_of", "internal", "problem_of"]

_log = logging.getLogger("heed.schema")


class Code(StrEnum):
    """The closed list of `errors[].extensions.code`; a client may switch on it and need no default but a retry."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    FORBIDDEN_FIELD = "FORBIDDEN_FIELD"
    PURPOSE_REQUIRED = "PURPOSE_REQUIRED"
    PURPOSE_NOT_PERMITTED = "PURPOSE_NOT_PERMITTED"
    NOT_FOUND = "NOT_FOUND"
    VERSION_REQUIRED = "VERSION_REQUIRED"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    POSITION_EXPIRED = "POSITION_EXPIRED"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    QUERY_TOO_COSTLY = "QUERY_TOO_COSTLY"
    RATE_LIMITED = "RATE_LIMITED"
    RESTRICTED_RECORD = "RESTRICTED_RECORD"
    SOURCE_OVERRULED = "SOURCE_OVERRULED"
    BREAK_GLASS_REQUIRED = "BREAK_GLASS_REQUIRED"
    ERASED = "ERASED"
    LEGAL_HOLD = "LEGAL_HOLD"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


MESSAGES: Mapping[Code, str] = {
    Code.UNAUTHENTICATED: "A valid bearer token is required.",
    Code.FORBIDDEN: "Your role does not allow this.",
    Code.FORBIDDEN_FIELD: "Your role and purpose of use do not allow at least one of the fields named.",
    Code.PURPOSE_REQUIRED: "State a purpose of use, in the token or in the header X-Purpose-Of-Use.",
    Code.PURPOSE_NOT_PERMITTED: "Your role may not ask for this purpose of use.",
    Code.NOT_FOUND: "There is no such record that you may know of.",
    Code.VERSION_REQUIRED: "State expectedVersion: the version of the record that your change is based on.",
    Code.VERSION_CONFLICT: "The record changed since you read it; read it again and repeat your change.",
    Code.REQUEST_IN_PROGRESS: "The same request is being done; ask again later for what it came to.",
    Code.VALIDATION_FAILED: "A submitted value breaks a rule of its field.",
    Code.POSITION_EXPIRED: "Changes are not kept from that position on: read all anew, and go on from the newest.",
    Code.BATCH_TOO_LARGE: "Too many ids in one call.",
    Code.QUERY_TOO_COSTLY: "The request asks for more than the server does at once.",
    Code.RATE_LIMITED: "Too many requests; try again later.",
    Code.RESTRICTED_RECORD: "This record is restricted.",
    Code.SOURCE_OVERRULED: "A higher source speaks for at least one of the fields named, so nothing was changed.",
    Code.BREAK_GLASS_REQUIRED: "This needs a break-glass grant.",
    Code.ERASED: "This was erased.",
    Code.LEGAL_HOLD: "This record is under a legal hold.",
    Code.AUDIT_UNAVAILABLE: "The access log cannot be written, so nothing is answered; try again later.",
    Code.KEY_UNAVAILABLE: "A key that this needs is not available here: ask a replica that has it, or try again later.",
    Code.OVERLOADED: "The server has too much to do, or took too long; try again later.",
    Code.GRAPHQL_PARSE_FAILED: "The request cannot be parsed.",
    Code.GRAPHQL_VALIDATION_FAILED: "The document does not fit the schema.",
    Code.PERSISTED_QUERY_NOT_FOUND: "PersistedQueryNotFound",
    Code.PERSISTED_QUERY_NOT_SUPPORTED: "PersistedQueryNotSupported",
    Code.INTERNAL_SERVER_ERROR: "Something failed here. Quote the incident when you report it.",
}

DESCRIPTIONS: Mapping[Code, str] = {
    **MESSAGES,
    Code.VALIDATION_FAILED: "A submitted value breaks a rule of its field; `field` is its path, `rule` names the rule.",
    Code.VERSION_CONFLICT: "The record changed since it was read; `currentVersion` is the version now stored, "
    "`changedFields` are the paths of what changed, of those that the caller may read, where that is known.",
    Code.REQUEST_IN_PROGRESS: "The same request, under the same key, is being done; ask again after `retryAfter`.",
    Code.SOURCE_OVERRULED: "A program would change what a higher source said, such as the patient; `fields` are the "
    "paths, `field` the first. Nothing was changed: leave them out, or have a person see to it.",
    Code.BATCH_TOO_LARGE: "Too many ids in one call; `limit` is how many there may be.",
    Code.QUERY_TOO_COSTLY: "The request asks for more than the server does at once; `limit` is how much it may be, of "
    "what the message names.",
    Code.PERSISTED_QUERY_NOT_FOUND: "No document has that SHA-256 here; send its text, where texts are taken.",
    Code.PERSISTED_QUERY_NOT_SUPPORTED: "Texts are not remembered here: send the text with each request.",
    Code.INTERNAL_SERVER_ERROR: "Something failed in the service; `incident` finds it in the server's log.",
}

UNAVAILABLE: frozenset[Code] = frozenset({Code.AUDIT_UNAVAILABLE, Code.KEY_UNAVAILABLE, Code.OVERLOADED})
"""Codes that stand for the whole answer: HTTP 503 with `Retry-After`, and never a `data` entry beside them."""

LATER: frozenset[Code] = frozenset({Code.RATE_LIMITED, Code.REQUEST_IN_PROGRESS})
"""Codes that stand for the whole answer as well, and are the caller's own doing: HTTP 429 and 409."""

FORBIDDEN: frozenset[Code] = frozenset(
    {
        Code.FORBIDDEN,
        Code.FORBIDDEN_FIELD,
        Code.PURPOSE_REQUIRED,
        Code.PURPOSE_NOT_PERMITTED,
        Code.RESTRICTED_RECORD,
        Code.BREAK_GLASS_REQUIRED,
    }
)
"""Codes that mean HTTP 403 when they refuse the whole request in `application/graphql-response+json`."""

RETRY_AFTER = 1
"""Seconds after which a client may try again, where the failure itself does not say."""


class Refused(Exception):
    """A refusal that this room itself decides: transport, limits, and the shape of a document.

    `text` is one of our own fixed sentences (never a literal of the request); `locations` point into the document;
    `limit` is the number that was passed.
    """

    def __init__(
        self,
        code: Code,
        text: str | None = None,
        *,
        field: str | None = None,
        locations: Sequence[tuple[int, int]] = (),
        limit: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.field = field
        self.locations = tuple(locations)
        self.limit = limit


class RateLimited(Refused):
    """One caller has more requests at work than is one caller's share."""

    def __init__(self) -> None:
        super().__init__(Code.RATE_LIMITED)


TABLE: Mapping[type[BaseException], Code] = {
    auth_errors.Unauthenticated: Code.UNAUTHENTICATED,
    auth_errors.Forbidden: Code.FORBIDDEN,
    auth_errors.ForbiddenField: Code.FORBIDDEN_FIELD,
    auth_errors.PurposeRequired: Code.PURPOSE_REQUIRED,
    auth_errors.PurposeNotPermitted: Code.PURPOSE_NOT_PERMITTED,
    crm_errors.NotFound: Code.NOT_FOUND,
    crm_errors.Invalid: Code.VALIDATION_FAILED,
    crm_errors.VersionRequired: Code.VERSION_REQUIRED,
    crm_errors.VersionConflict: Code.VERSION_CONFLICT,
    crm_errors.RequestInProgress: Code.REQUEST_IN_PROGRESS,
    crm_errors.PositionExpired: Code.POSITION_EXPIRED,
    crm_errors.BatchTooLarge: Code.BATCH_TOO_LARGE,
    crm_errors.RestrictedRecord: Code.RESTRICTED_RECORD,
    crm_errors.SourceOverruled: Code.SOURCE_OVERRULED,
    crm_errors.BreakGlassRequired: Code.BREAK_GLASS_REQUIRED,
    crm_errors.Erased: Code.ERASED,
    crm_errors.LegalHold: Code.LEGAL_HOLD,
    crm_errors.KeyUnavailable: Code.KEY_UNAVAILABLE,
    crm_errors.AuditUnavailable: Code.AUDIT_UNAVAILABLE,
    crm_errors.RateLimited: Code.RATE_LIMITED,
    crm_errors.Overloaded: Code.OVERLOADED,
}
"""Every class that has a code of its own; whatever is not here is INTERNAL_SERVER_ERROR."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of `errors`, ready to be written."""

    code: Code
    message: str
    extensions: Mapping[str, Any] = field(default_factory=dict)
    locations: tuple[tuple[int, int], ...] = ()
    path: tuple[str | int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The entry as the GraphQL specification shapes it (section 7.1.2), with the code in `extensions`."""
        entry: dict[str, Any] = {"message": self.message}
        if self.locations:
            entry["locations"] = [{"line": line, "column": column} for line, column in self.locations]
        if self.path:
            entry["path"] = list(self.path)
        entry["extensions"] = {"code": self.code.value, **self.extensions}
        return entry


def code_of(error: BaseException) -> Code:
    """The public code of an exception, looked up along its classes from the most special to the most general."""
    if isinstance(error, Refused):
        return error.code
    for cls in type(error).__mro__:
        if cls in TABLE:
            return TABLE[cls]
    return Code.INTERNAL_SERVER_ERROR


def problem_of(error: BaseException) -> Problem:
    """What a client is told about `error`; logs it when it is none of the expected kinds.

    A `GraphQLError` of the executor lends its path and location, and its cause the code.
    """
    if isinstance(error, GraphQLError):
        cause = error.original_error or error
        inner = problem_of(cause) if cause is not error else internal(error)
        locations = tuple((place.line, place.column) for place in error.locations or ())
        return Problem(inner.code, inner.message, inner.extensions, locations, tuple(error.path or ()))
    code = code_of(error)
    if code is Code.INTERNAL_SERVER_ERROR:
        return internal(error)
    locations = error.locations if isinstance(error, Refused) else ()
    text = error.text if isinstance(error, Refused) and error.text else MESSAGES[code]
    return Problem(code, text, _extensions(error, code), locations)


def _extensions(error: BaseException, code: Code) -> dict[str, Any]:
    """The entries beside the code: a field path, a version, a limit, seconds; nothing else of the exception is used."""
    found: dict[str, Any] = {}
    match error:
        case Refused(field=path, limit=limit):
            found |= {name: fact for name, fact in (("field", path), ("limit", limit)) if fact is not None}
        case crm_errors.Invalid(field=path, rule=rule):
            found["field"] = path
            found["rule"] = rule
        case auth_errors.ForbiddenField(paths=[path, *_]) | crm_errors.KeyUnavailable(paths=[path, *_]):
            found["field"] = path
        case crm_errors.VersionConflict(current=version, changed=changed, field=field):
            found |= {"currentVersion": version} | ({} if field is None else {"field": field})
            found |= {} if changed is None else {"changedFields": list(changed)}
        case crm_errors.SourceOverruled(paths=[path, *_] as paths):
            found |= {"field": path, "fields": list(paths)}
        case crm_errors.BatchTooLarge(limit=limit):
            found["limit"] = limit
        case (
            crm_errors.Overloaded(retry_after=seconds)
            | crm_errors.RateLimited(retry_after=seconds)
            | crm_errors.RequestInProgress(retry_after=seconds)
        ):
            found["retryAfter"] = seconds
        case _:
            pass
    if code in UNAVAILABLE or code in LATER:
        found.setdefault("retryAfter", RETRY_AFTER)
    return found


def internal(error: BaseException) -> Problem:
    """A failure nobody expected: the client gets an incident number, the log its type and place, nobody any value."""
    incident = uuid.uuid4().hex
    chain = " <- ".join(f"{type(link).__name__} at {_place(link)}" for link in _causes(error))
    _log.error("incident %s: %s", incident, chain)
    return Problem(Code.INTERNAL_SERVER_ERROR, MESSAGES[Code.INTERNAL_SERVER_ERROR], {"incident": incident})


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The exception and what it came from, at most eight links."""
    link: BaseException | None = error
    for _ in range(8):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _place(error: BaseException) -> str:
    """Where it was raised, as `file:line function` of every frame; source lines and local values stay out."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames) or "unknown place"
