"""`documents …`: a client's documents are checked and appraised, put on the list of trusted ones, and taken off it."""

import getpass
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from commands.document_files import texts_of
from commands.house import clock
from commands.log_verifying import opened
from crm.audit.event import rfc3339
from crm.errors import BatchTooLarge, Invalid, Unsafe
from crm.services.documents import Registration, TrustedDocuments, digest
from crm.settings import PREFIX, Environment, Settings
from schema.appraisal import Appraisal, Refusal, appraise, counted
from schema.documents import Documents, Invalidities
from schema.errors import Refused, problem_of
from schema.limits import TooCostly
from schema.plan import TooManyIds
from schema.sdl import build_schema
from schema.settings import Limits

__all__ = [
    "Examined",
    "Retirement",
    "Summary",
    "every",
    "examine",
    "examined_lines",
    "register",
    "registration_json",
    "registration_lines",
    "retire",
    "retirement_lines",
]


@dataclass(frozen=True, slots=True)
class Examined:
    """One document of a file: its operations, or the problems for which it could never be executed."""

    file: Path
    sha256: str
    text: str = field(repr=False)
    operations: tuple[Appraisal, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The names of its operations."""
        return ", ".join(each.name or "unnamed" for each in self.operations)


@dataclass(frozen=True, slots=True)
class Summary:
    """What registering came to. With a problem anywhere nothing is registered, nor when it was only checked."""

    client: str
    examined: Sequence[Examined]
    new: int = 0
    registered: bool = False

    @property
    def refused(self) -> int:
        """How many documents could never be executed."""
        return sum(1 for each in self.examined if each.problems)

    def as_json(self) -> dict[str, Any]:
        """`{"client", "registered", "new", "refused", "documents": [{"file", "sha256", "operations", "problems"}]}`."""
        return {
            "client": self.client,
            "registered": self.registered,
            "new": self.new,
            "refused": self.refused,
            "documents": [_document(each) for each in self.examined],
        }


async def register(settings: Settings, client: str, files: Sequence[Path], *, check: bool = False) -> Summary:
    """Examines the documents in `files` and puts them on the list for `client`, all or none; with `check` none.

    Raises Unsafe for a file that holds no documents, OSError, StoreUnavailable.
    """
    open_introspection = settings.open_introspection or settings.env is Environment.DEVELOPMENT
    examined = examine(files, replace(Limits(), **settings.limits()), open_introspection=open_introspection)
    if check or any(each.problems for each in examined):
        return Summary(client, examined)
    async with _list(settings) as documents:
        new = await documents.register(client, {each.text: each.name for each in examined}, _somebody())
    return Summary(client, examined, new, registered=True)


@dataclass(frozen=True, slots=True)
class Retirement:
    """What retiring came to. Documents are named by their SHA-256; `elsewhere` are the clients that still have one.

    `known` is whether anything was ever registered for the client.
    """

    client: str
    known: bool
    retired: Sequence[str]
    before: Sequence[str] = ()
    unknown: Sequence[str] = ()
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        """Whether something was named that is not there."""
        return bool(self.unknown) or not self.known

    def as_json(self) -> dict[str, Any]:
        """Names: `client client_known retired retired_before not_found still_registered` (clients by SHA-256)."""
        return {
            "client": self.client,
            "client_known": self.known,
            "retired": len(self.retired),
            "retired_before": list(self.before),
            "not_found": list(self.unknown),
            "still_registered": {sha256: list(clients) for sha256, clients in self.elsewhere.items()},
        }


async def retire(settings: Settings, client: str, digests: Sequence[str]) -> Retirement:
    """Takes documents of a client off the list, all of them where none is named. Raises StoreUnavailable.

    Of those that are named, whatever is there is retired, whatever else is not.
    """
    async with _list(settings) as documents:
        registered = await documents.every()
        own = {each.sha256: each.retired_at is None for each in registered if each.client == client}
        named = list(dict.fromkeys(digests or own))
        live = [each for each in named if own.get(each)]
        await documents.retire(client, live, _somebody())
    elsewhere: dict[str, list[str]] = {}
    for each in registered:
        if each.sha256 in named and each.client != client and each.retired_at is None:
            elsewhere.setdefault(each.sha256, []).append(each.client)
    before = [each for each in named if own.get(each) is False]
    unknown = [each for each in named if each not in own]
    return Retirement(client, bool(own), live, before if digests else (), unknown, elsewhere)


async def every(settings: Settings, client: str, *, retired: bool) -> list[Registration]:
    """The list, or that of one client; with those that are `retired` on demand. Raises StoreUnavailable."""
    async with _list(settings) as documents:
        return [each for each in await documents.every(client) if retired or each.retired_at is None]


@asynccontextmanager
async def _list(settings: Settings) -> AsyncIterator[TrustedDocuments]:
    async with opened(settings) as database:
        yield TrustedDocuments(database, clock)


def _somebody() -> str:
    return f"account:{getpass.getuser()}"


def examine(files: Sequence[Path], limits: Limits, *, open_introspection: bool = False) -> list[Examined]:
    """Each document of the files, once. Raises Unsafe, also where there is none at all; OSError."""
    schema = build_schema()
    documents = Documents(schema, limits, count=1, size=limits.source, refused=1)
    found: dict[str, Examined] = {}
    for file in files:
        for text in texts_of(file):
            sha256 = digest(text)
            try:
                document = documents.get(text)
                operations = tuple(appraise(schema, document, limits, open_introspection=open_introspection))
                found[sha256] = Examined(file, sha256, text, operations)
            except Invalidities as invalid:
                found[sha256] = Examined(file, sha256, text, problems=tuple(map(_problem, invalid.public)))
            except (Refused, BatchTooLarge, Invalid) as refused:
                found[sha256] = Examined(file, sha256, text, problems=(_problem(refused) + _count(refused, text),))
    if not found:
        raise Unsafe("these files hold no documents")
    return list(found.values())


def _problem(error: Exception) -> str:
    """One line: the code, the sentence, and the first place in the document."""
    told = problem_of(error)
    place = f" (line {told.locations[0][0]}, column {told.locations[0][1]})" if told.locations else ""
    return f"{told.code}: {told.message}{place}"


def _count(refused: Exception, text: str) -> str:
    """How much there is of what is too much, and which setting says how much there may be."""
    match refused:
        case TooCostly(name=name, limit=int(limit)):
            found = counted(text, name)
        case TooManyIds(limit=limit, ids=found):
            name = "batch"
        case _:
            return ""
    many = f"{found}" if found is not None and found > limit else f"more than {limit}"
    setting = f"limit_{name}"
    allowed = f"{PREFIX}{setting.upper()} is {limit}" if setting in Settings.model_fields else f"{limit} is the most"
    return f" Found: {many}; {allowed}."


def _document(examined: Examined) -> dict[str, Any]:
    return {
        "file": str(examined.file),
        "sha256": examined.sha256,
        "operations": [_operation(each) for each in examined.operations],
        "problems": list(examined.problems),
    }


def _operation(operation: Appraisal) -> dict[str, Any]:
    return {
        "name": operation.name,
        "kind": operation.kind,
        "fields": operation.fields,
        "depth": operation.depth,
        "records": operation.records,
        "too_costly_at_most": operation.records > operation.most,
        "literals": operation.literals,
        "refused": [
            {
                "role": each.role.value,
                "purpose": each.purpose.value,
                "root": each.root,
                "code": each.code.value,
                "fields": list(each.fields),
            }
            for each in operation.refusals
        ],
    }


# --- for people ------------------------------------------------------------------------------------------------------


def examined_lines(summary: Summary) -> Iterator[str]:
    """What was found of each document, and what became of them."""
    for each in summary.examined:
        yield f"{each.sha256}  {each.file}"
        for problem in each.problems:
            yield f"  {problem}"
        for operation in each.operations:
            yield from _operation_lines(operation)
    if summary.refused:
        yield f"nothing was registered: {summary.refused} of {len(summary.examined)} could never be executed"
    elif summary.registered:
        yield f"{len(summary.examined)} registered for {summary.client}, {summary.new} of them new"
    else:
        yield f"{len(summary.examined)} could be registered"


def _operation_lines(operation: Appraisal) -> Iterator[str]:
    cost = f"{operation.fields} fields, {operation.depth} deep, {operation.records} records at most"
    yield f"  {operation.kind} {operation.name or '(unnamed)'}: {cost}"
    if operation.records > operation.most:
        yield f"    with more than {operation.most} records it is answered QUERY_TOO_COSTLY ({PREFIX}LIMIT_RECORDS)"
    if operation.literals:
        yield f"    texts in it that are stored in clear: {operation.literals}; send values as variables"
    by_reason = sorted(operation.refusals, key=_reason)
    for (root, code, fields), refusals in groupby(by_reason, key=_reason):
        roles = ", ".join(f"{each.role.value}/{each.purpose.value}" for each in refusals)
        yield f"    {code} at {root}{': ' if fields else ''}{', '.join(fields)} for {roles}"


def _reason(refusal: Refusal) -> tuple[str, str, tuple[str, ...]]:
    return refusal.root, refusal.code.value, refusal.fields


def retirement_lines(retirement: Retirement) -> Iterator[str]:
    """What became of each document that was named."""
    client = retirement.client
    yield f"{len(retirement.retired)} of {client} are retired"
    if not retirement.known:
        yield f"nothing was ever registered for {client}"
    for sha256 in retirement.unknown:
        yield f"{sha256} is not registered for {client}"
    for sha256 in retirement.before:
        yield f"{sha256} was retired before"
    for sha256, clients in retirement.elsewhere.items():
        yield f"{sha256} is executed as before: still registered by {', '.join(clients)}"


def registration_lines(registrations: Sequence[Registration]) -> Iterator[str]:
    """The list, one line for each document."""
    if not registrations:
        yield "no documents are registered"
    for each in registrations:
        line = f"{each.client}  {each.sha256}  {each.name}  {_day(each.registered_at)} by {each.registered_by}"
        yield line if each.retired_at is None else f"{line}, retired {_day(each.retired_at)} by {each.retired_by}"


def _day(micros: int) -> str:
    return rfc3339(micros)[:10]


def registration_json(registrations: Sequence[Registration]) -> list[dict[str, Any]]:
    """The list as JSON has it; times as RFC 3339 writes them."""
    return [
        {
            **asdict(each),
            "registered_at": rfc3339(each.registered_at),
            "retired_at": None if each.retired_at is None else rfc3339(each.retired_at),
        }
        for each in registrations
    ]
