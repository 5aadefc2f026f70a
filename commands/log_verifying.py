"""`audit verify`: the logs of all organisations, or of some, against their own leaves and against what others kept.

It opens the database and nothing else of the house, so that it runs where serving refuses to start. Of all keys it
needs the one that signs the logs, or only its public half.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from commands.logs import plain
from commands.progress import progress
from commands.providers import provider as root_keys
from crm.audit.checkpoint import origin_of
from crm.audit.damage import MEANINGS, Damage
from crm.audit.event import rfc3339
from crm.crypto.cosignature import COSIGNATURE
from crm.crypto.keyset import KeySet
from crm.crypto.note import ED25519, Signer, verifier_key
from crm.errors import CrmError, KeyUnavailable, Unsafe
from crm.services.log_verification import KeyOf, Outside, VerifiedLog, verify_log
from crm.services.witnesses import Witness
from crm.settings import Settings
from crm.store import migrations, organisations, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database, connect
from crm.store.keystore import stored_keys
from crm.store.log import signer_of
from crm.store.log_outbox import NO_EPOCH

__all__ = ["Asked", "Report", "cannot_exclude", "check", "lines", "opened", "signing_key"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says.

    Organisations (all without any), files with signed checkpoints, witnesses as `URL=VKEY` beside those of the
    settings, and verifier keys of logs.
    """

    orgs: Sequence[str] = ()
    checkpoints: Sequence[Path] = ()
    witnesses: Sequence[str] = ()
    keys: Sequence[str] = ()


@dataclass(slots=True)
class Report:
    """What came of all logs that were asked for. `unreached` are witnesses that did not answer."""

    logs: list[VerifiedLog] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was found to be wrong in what could be checked."""
        return all(each.sound for each in self.logs)

    def as_json(self) -> dict[str, Any]:
        """The whole report: names, numbers and codes, never a value."""
        return {"sound": self.sound, "logs": [_as_json(each) for each in self.logs], "unreached": self.unreached}


async def check(settings: Settings, asked: Asked, *, quiet: bool) -> Report:
    """Verifies the logs. Raises `Unsafe` for what cannot be asked, with what to do, and `StoreUnavailable`."""
    witnesses = [Witness(each.url, each.key) for each in settings.witnesses] + [
        _witness(each) for each in asked.witnesses
    ]
    async with opened(settings) as database:
        base, key_of, stamper_of = await _keys(settings, asked.keys)
        kept = _kept(settings, asked.checkpoints, base)
        known = await organisations.every_visible(database)
        for org in sorted(set(asked.orgs) - {*known, *kept}):
            if await proofs.head(database, org) is None:
                raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        report = Report()
        names = {verifier_key(each.key, COSIGNATURE).name: each.key for each in witnesses}
        for org in asked.orgs or sorted({*known, *kept}):
            outside = [*kept.get(org, ())]
            for witness in witnesses:
                outside += await _seen(database, witness, base, org, report.unreached)
            with progress(f"verify {org}", None, quiet=quiet) as advance:
                stamper = stamper_of(org)
                report.logs.append(await verify_log(database, org, base, key_of, outside, names, advance, stamper))
    return report


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The database alone, also one that the service would not serve from. Raises Unsafe, StoreUnavailable."""
    migrations.check(settings.database_url)
    database = connect(settings.database_url, pool_size=2, durable=False)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def signing_key(settings: Settings) -> KeySet:
    """The key that signs the logs, and no other. Raises Unsafe, StoreUnavailable, KeyUnavailable."""
    provider = root_keys(settings.model_copy(update={"key_uses": ("log",)}))
    keystore = connect(settings.keystore_url, pool_size=2, durable=False)
    await keystore.open()
    try:
        rows = [key for key in await stored_keys(keystore) if key.kind == "sign"]
    finally:
        await keystore.close()
    return KeySet.load(provider, settings.env.value, rows)


async def _keys(settings: Settings, given: Sequence[str]) -> tuple[str, KeyOf, Callable[[str], Signer | None]]:
    """What the names of the logs begin with, and their verifier keys: those that were given, else our own.

    Whoever has no more than verifier keys cannot tell which rows of an organisation's outbox are ours.
    """
    if given:
        named = {}
        for text in given:
            try:
                named[verifier_key(text, ED25519).name] = text
            except RuntimeError:
                raise Unsafe("--key takes the verifier key of a log, as `audit checkpoint` prints it") from None
        bases = {origin.rsplit("/", 2)[0] for origin in named}
        if len(bases) != 1:
            raise Unsafe("the logs of the given keys do not have the same origin")

        def chosen(origin: str) -> str:
            if origin not in named:
                raise Unsafe(f"no key was given for the log {origin}: state --key, or --org for the logs that you can")
            return named[origin]

        return bases.pop(), chosen, lambda _org: None
    try:
        keys = await signing_key(settings)
        keys.signer()
    except KeyUnavailable:
        raise Unsafe("the key that signs the logs is not at hand: state --key with each log's verifier key") from None
    signer = signer_of(keys, settings.log_origin)
    return settings.log_origin, lambda origin: keys.log_signer(origin).verifier_key, lambda org: signer(org, NO_EPOCH)


def _kept(settings: Settings, files: Sequence[Path], base: str) -> dict[str, list[Outside]]:
    """The checkpoints that were kept outside, by organisation: in files, and in the journal of this machine."""
    journal = CheckpointJournal(settings.checkpoint_journal)
    kept = {org: [Outside("journal of this machine", note, apart=False)] for org, note in journal.notes().items()}
    for file in files:
        try:
            note = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise Unsafe(f"{file} cannot be read: a checkpoint is a small text file") from None
        origin = note.partition("\n")[0]
        parts = origin.rsplit("/", 2)
        if len(parts) != 3 or parts[0] != base:
            raise Unsafe(plain(f"{file} is a checkpoint of {origin[:200]}, which is no log of {base}"))
        kept.setdefault(unquote(parts[1]), []).append(Outside(str(file), note))
    return kept


def _witness(text: str) -> Witness:
    url, _, key = text.partition("=")
    try:
        verifier_key(key, COSIGNATURE)
    except RuntimeError:
        raise Unsafe("--witness takes URL=VKEY, with the key that `audit witness --show-key` prints") from None
    if not url.startswith(("http://", "https://")):
        raise Unsafe("--witness takes URL=VKEY, and the URL begins with http:// or https://")
    return Witness(url.rstrip("/"), key)


async def _seen(database: Database, witness: Witness, base: str, org: str, unreached: list[str]) -> list[Outside]:
    """What a witness saw of a log in each of its epochs, and in the one that the database might have forgotten."""
    head = await proofs.head(database, org)
    found = []
    for epoch in range(1, (head.epoch if head else 1) + 2):
        try:
            note = await witness.latest(origin_of(base, org, epoch))
        except (OSError, CrmError) as error:
            unreached.append(f"{witness.name}: {type(error).__name__}")
            break
        if note is not None:
            found.append(Outside(f"witness {witness.name}", note))
    return found


def lines(report: Report) -> list[str]:
    """The report for a person: each log, what was compared, what is wrong, and what cannot be excluded."""
    said = [line for each in report.logs for line in _of(each)] or ["nothing is logged yet"]
    return said + [f"not reached: {each}" for each in report.unreached]


def _of(found: VerifiedLog) -> list[str]:
    rate = found.events / found.seconds if found.seconds else 0.0
    sum_ = f"{found.size} events in {found.seconds:.1f} s ({rate:.0f} per second)"
    result = [f"{found.org}: {found.origin}: {sum_}, " + ("all well" if found.sound else f"BAD: {_first(found)}")]
    if found.pruned:
        result.append(f"{found.org}: events before {found.pruned} were pruned, as event {found.pruned_by} says")
    result += [f"{found.org}: {each}" for each in found.lost]
    if found.outside:
        result.append(f"{found.org}: compared with " + ", ".join(f"{part} ({size})" for part, size in found.outside))
    for damage in found.damages.named:
        result += _told(found.org, damage)
    if (more := found.damages.counts.total() - len(found.damages.named)) > 0:
        result.append(f"{found.org}: {more} more")
    if found.waiting:
        result.append(
            f"{found.org}: {found.waiting} events wait to be numbered, the oldest since {rfc3339(found.oldest or 0)}"
        )
    return result + [f"{found.org}: cannot exclude {each}" for each in cannot_exclude(found)]


def _first(found: VerifiedLog) -> str:
    """Where the first bad number lies."""
    if found.damages.first is None:
        return "no event is, but what stands beside them"
    start, end = found.damages.first
    return (
        f"the first bad number is {start}" if end == start + 1 else f"the first bad number is from {start} to {end - 1}"
    )


def _told(org: str, damage: Damage) -> list[str]:
    where = "" if damage.seq is None else f"{damage.seq}: "
    if damage.seq is not None and damage.until is not None and damage.until > damage.seq + 1:
        where = f"{damage.seq} to {damage.until - 1}: "
    part = f" ({damage.part})" if damage.part else ""
    result = [plain(f"{org}: {where}{damage.fault.value}: {MEANINGS[damage.fault]}{part}")]
    for note in damage.proofs:
        result += [f"{org}: signed by the log itself:", *(f"    {plain(line)}" for line in note.split("\n"))]
    return result


def cannot_exclude(found: VerifiedLog) -> list[str]:
    """What this verification could not have seen."""
    said = []
    if found.vouched is None:
        said.append(
            "that the newest events were removed and an older genuine checkpoint put back: none came from elsewhere"
        )
        said.append("that whoever has the log's key changed events and signed anew")
    elif found.vouched < found.size:
        said.append(
            f"that whoever has the log's key changed or removed events from {found.vouched} on: "
            "no checkpoint from elsewhere reaches further"
        )
    if found.waiting:
        said.append("that events which wait to be numbered were changed or removed")
    said += [
        f"that {name} did not cosign what the database says: its key was not given" for name in sorted(found.strangers)
    ]
    return said


def _as_json(found: VerifiedLog) -> dict[str, Any]:
    return {
        "org": found.org,
        "origin": found.origin,
        "sound": found.sound,
        "size": found.size,
        "root": found.root.hex(),
        "epoch": found.epoch,
        "pruned": found.pruned,
        "pruned_by": found.pruned_by,
        "events": found.events,
        "seconds": round(found.seconds, 3),
        "first_bad": None if found.damages.first is None else list(found.damages.first),
        "counts": {fault.value: count for fault, count in sorted(found.damages.counts.items())},
        "damages": [
            {"code": each.fault.value, "seq": each.seq, "until": each.until, "part": each.part, "proofs": each.proofs}
            for each in found.damages.named
        ],
        "outside": [{"part": part, "size": size} for part, size in found.outside],
        "vouched": found.vouched,
        "lost": found.lost,
        "waiting": found.waiting,
        "oldest_waiting": None if found.oldest is None else rfc3339(found.oldest),
        "cannot_exclude": cannot_exclude(found),
    }
