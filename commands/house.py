"""The composition of one process: settings become database, keys, log, use cases and verifier, and end in order."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys, UnsafeIssuer
from auth.key_download import download
from auth.tokens import IsRevoked, TokenVerifier, nothing_revoked
from commands.couriers import couriers
from commands.providers import provider as root_keys
from commands.sending import sender
from crm.audit.writer import LogWriter
from crm.crypto.keyset import KeySet
from crm.crypto.provider import KeyProvider
from crm.crypto.stored_key import new_signing_key
from crm.delivery.bell import Bell
from crm.delivery.changes import Changes
from crm.delivery.revocations import learning
from crm.delivery.sequencer import Sequencer
from crm.delivery.webhooks import Couriers
from crm.domain.circumstances import Watch, office_hours
from crm.errors import Unsafe
from crm.services import Services, services
from crm.services.break_glass import Rules
from crm.services.erasures import Erasures
from crm.services.outside import Outside, Trouble
from crm.services.publishing import Publisher
from crm.services.rounds import Chore, Rounds
from crm.services.witnesses import Witness
from crm.settings import Environment, Settings, StaffShown
from crm.store import migrations, organisations
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database, connect
from crm.store.journal import Journal
from crm.store.keyroom import KeyRoom
from crm.store.keystore import add, bootstrap, stored_keys
from crm.store.ledger_copies import JournalCopy, KeystoreCopy, LedgerCopies
from crm.store.log import LogSink, signer_of
from crm.store.unit import Store

DEFAULT_ORG = "demo"
"""The organisation of commands that name none."""


@dataclass(frozen=True, slots=True)
class House:
    """The parts of a running process that its commands use."""

    settings: Settings
    database: Database
    keystore: Database
    provider: KeyProvider
    keyroom: KeyRoom
    services: Services
    log: LogWriter
    publisher: Publisher
    bell: Bell
    sequencer: Sequencer
    troubles: Sequence[Trouble] = ()
    """Why the logs should not go on, where the house was opened nevertheless; then `log` is not started."""
    couriers: Couriers | None = None
    """Who sends webhooks, in a lasting house."""

    async def ready(self) -> dict[str, bool]:
        """What readiness rests on: the database answers, keys are held and of now, the log takes events."""
        try:
            async with asyncio.timeout(PROBE):
                await self.database.probe()
            reachable = True
        except Exception:  # noqa: BLE001 - whatever ails it, the answer is no
            reachable = False
        keys = self.services.store.keys
        return {"database": reachable, "keys": bool(keys.held) and keys.fresh, "log": self.log.healthy}


PROBE = 1.0
"""Seconds in which the database has to answer a look at its readiness; whoever looks does not wait for longer."""

FOLLOWED_UP = 1.0
"""Seconds between two looks for changes that another process stored and nobody numbered."""

FEED_PRUNED = 3_600.0
"""Seconds between two looks for changes that are too old to be kept in the feed."""

DAY = 86_400.0

BRIEF = 3
"""Looks at the key store that a single command may miss in a row and still change records."""

COUNTED = 30.0
"""Seconds between two counts of what waits for a privacy officer."""

ROLLED_UP = 60.0
"""Seconds between two counts of what each actor did on each day."""

FORGOTTEN = 3_600.0
"""Seconds between two looks for retries that are not kept any more."""


def clock() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@asynccontextmanager
async def house(
    settings: Settings, *, lasting: bool = False, forgetful: bool = False, suspect: bool = False
) -> AsyncIterator[House]:
    """An opened house. The first one in a migrated database also founds its keys.

    One that is not `lasting`, as for a single command, bears being cut off from the key store for a shorter time, so
    that nobody has to wait long for one that was killed; a lasting one goes its rounds. One that has forgotten
    erasures, as a database put back from an old copy has, is opened only as `forgetful`, and one whose logs are not
    what is known of them outside only as `suspect`: then it takes no events, and `troubles` says why. Raises `Unsafe`
    when database, keys, logs or durability are not in order, with what to do, and `StoreUnavailable`.
    """
    provider = root_keys(settings)
    async with AsyncExitStack() as opened:
        database = await opened.enter_async_context(_opened(settings.database_url, settings.database_connections))
        keystore = database
        # Connections of its own on PostgreSQL: changes that wait for a look at the keys must not take them all.
        if settings.keystore_url != settings.database_url or database.dialect == "postgresql":
            keystore = await opened.enter_async_context(_opened(settings.keystore_url, 2))
        copies = _ledger_copies(settings, database, keystore)
        if not forgetful:
            await copies.check()
        keys = await _founded(settings, provider, database, keystore)
        _check_signer(keys)
        publisher, outside = _publishing(settings, database, keys)
        troubles = await outside.troubles()
        if troubles and not suspect:
            raise Unsafe("; ".join(trouble.text for trouble in troubles))
        keyroom = _keyroom(settings, provider, keystore, keys, lasting=lasting)
        await keyroom.start()
        opened.push_async_callback(keyroom.stop)
        if lasting:
            # Stopped after the log has ended: so its last checkpoint is published too.
            opened.push_async_callback(_started(_rounds(settings, publisher)).stop)
        log = _log_writer(settings, database, keys, publisher)
        if not troubles:
            await log.start()
        opened.push_async_callback(log.stop)
        bell = Bell(database, settings.database_url)
        sequencer = Sequencer(database, bell)
        sources, sending = settings.sources.rules, None
        store = Store(database, keys, log, clock, keyroom.renew, _watch(settings), sources, sequencer.kick)
        erasures = Erasures(store, keystore, copies, wrap_days=settings.wrap_days, backup_days=settings.backup_days)
        use_cases = _use_cases(settings, store, erasures, Changes(database, bell))
        if lasting:
            await opened.enter_async_context(learning(bell, use_cases.revocations))
            opened.push_async_callback(_started(_counting(use_cases)).stop)
            sending = await opened.enter_async_context(_delivering(settings, store, bell, sequencer))
        opened.push_async_callback(use_cases.access_log.close)
        parts = settings, database, keystore, provider, keyroom, use_cases, log, publisher, bell, sequencer
        yield House(*parts, troubles, sending)


@asynccontextmanager
async def _delivering(
    settings: Settings, store: Store, bell: Bell, sequencer: Sequencer
) -> AsyncIterator[Couriers | None]:
    """Tells of changes as they happen; gives who sends webhooks."""

    async def prune() -> None:
        await sequencer.prune(clock() - int(settings.feed_kept * DAY * 1_000_000))

    rounds = Rounds(
        Chore("numbering changes", FOLLOWED_UP, sequencer.look_round),
        Chore("pruning the change feed", FEED_PRUNED, prune),
    )
    bell.start()
    sequencer.start()
    rounds.start()
    try:
        async with couriers(settings, store, bell) as sending:
            yield sending
    finally:
        await rounds.stop()
        await sequencer.stop()
        await bell.stop()


def _started(rounds: Rounds) -> Rounds:
    rounds.start()
    return rounds


def _counting(use_cases: Services) -> Rounds:
    """What is looked for and added up, again and again."""
    return Rounds(
        Chore("counting break-glass grants", COUNTED, use_cases.break_glass.refresh),
        Chore("counting the days of actors", ROLLED_UP, use_cases.questions.count_days),
        Chore("forgetting retries", FORGOTTEN, use_cases.retries.prune),
    )


def _use_cases(settings: Settings, store: Store, erasures: Erasures, changes: Changes) -> Services:
    return services(
        store,
        region=settings.default_region,
        erasures=erasures,
        break_glass=Rules(settings.break_glass_minutes, settings.break_glass_review_hours),
        witnesses=[each.key for each in settings.witnesses],
        contact=settings.contact_policy.rules,
        staff_names=settings.patients_see_staff is StaffShown.NAMES,
        sender=sender(settings),
        documents_refresh=settings.documents_refresh,
        retries_kept=settings.retries_kept,
        conflict_hours=settings.conflict_hours,
        changes=changes,
    )


def _publishing(settings: Settings, database: Database, keys: KeySet) -> tuple[Publisher, Outside]:
    """Who tells the world outside of the logs, and who asks what it remembers."""
    journal = CheckpointJournal(settings.checkpoint_journal)
    witnesses = [Witness(each.url, each.key) for each in settings.witnesses]

    def key_of(origin: str) -> str:
        return keys.log_signer(origin).verifier_key

    publisher = Publisher(
        database,
        journal,
        witnesses,
        key_of,
        clock=clock,
        every=settings.checkpoint_every,
        witness_every=settings.witness_every,
        max_age=settings.witness_max_age,
    )
    return publisher, Outside(database, journal, witnesses, key_of, settings.log_origin)


def _rounds(settings: Settings, publisher: Publisher) -> Rounds:
    """What a serving process does besides answering, again and again."""
    chores = [Chore("publishing checkpoints", settings.checkpoint_every, publisher.publish)]
    if settings.witnesses:
        chores.append(Chore("visiting witnesses", settings.witness_every, publisher.visit))
    return Rounds(*chores)


def _keyroom(settings: Settings, provider: KeyProvider, keystore: Database, keys: KeySet, *, lasting: bool) -> KeyRoom:
    return KeyRoom(
        keystore,
        provider,
        settings.env.value,
        keys,
        node=f"{_node()}-{os.urandom(4).hex()}",
        clock=clock,
        refresh=settings.keys_refresh,
        max_age=settings.keys_max_age if lasting else min(settings.keys_max_age, BRIEF * settings.keys_refresh),
    )


def _log_writer(settings: Settings, database: Database, keys: KeySet, publisher: Publisher) -> LogWriter:
    return LogWriter(
        LogSink(database, signer_of(keys, settings.log_origin)),
        node=_node(),
        clock=clock,
        deadline=settings.audit_deadline,
        queue=settings.audit_queue,
        batch=settings.audit_batch,
        overdue=publisher.overdue,
    )


@asynccontextmanager
async def _opened(url: str, connections: int) -> AsyncIterator[Database]:
    """A database that has the newest tables. Raises Unsafe, StoreUnavailable."""
    migrations.check(url)
    database = connect(url, pool_size=connections)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def _ledger_copies(settings: Settings, database: Database, keystore: Database) -> LedgerCopies:
    """Where the erasure ledger is repeated: in the key store, if that is another database, and in the journal."""
    apart = [] if settings.keystore_url == settings.database_url else [KeystoreCopy(keystore)]
    return LedgerCopies(database, [*apart, JournalCopy(Journal(settings.erasure_journal))])


def _watch(settings: Settings) -> Watch:
    """What is remarkable of staff."""
    return Watch(office_hours(settings.office_hours, settings.time_zone), settings.bulk)


def _node() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"


async def _founded(settings: Settings, provider: KeyProvider, database: Database, store: Database) -> KeySet:
    """The stored keys; new ones only where nothing was ever recorded, since new keys would open none of it."""
    # In this order: another replica that founds the house at this moment stores its keys before its first event.
    in_use = await organisations.any_founded(database)
    stored = await stored_keys(store)
    environment = settings.env.value
    if not stored:
        if in_use:
            raise Unsafe(
                "the database holds records, but the key store holds no keys for them: restore the table crypto_key, "
                "or point HEED_KEYSTORE_URL to the database that has it"
            )
        stored = await bootstrap(store, lambda: KeySet.bootstrap(provider, environment), clock())
    elif "log" in provider.uses() and not any(key.kind == "sign" for key in stored):
        # Founded by a release that signed nothing.
        await add(store, new_signing_key(provider, environment, 1, "active"), clock())
        stored = await stored_keys(store)
    return KeySet.load(provider, environment, stored)


def _check_signer(keys: KeySet) -> None:
    """Raises Unsafe where this process cannot sign the access log: then it could record nothing, and answer nothing."""
    if "log" not in keys.states():
        raise Unsafe(
            "this process was given no key for log, with which all that is answered is recorded and signed, so it may "
            "answer nothing: add log to HEED_KEY_USES, or cut the key ring again with `keys share`"
        )


def verifier(settings: Settings, is_revoked: IsRevoked = nothing_revoked) -> TokenVerifier:
    """The verifier of the configured issuers; in development without any, of the embedded one. Raises `Unsafe`."""
    development = settings.env is Environment.DEVELOPMENT
    issuers = settings.issuers
    try:
        if not issuers and development:
            issuers = (DevelopmentIssuer(settings.data_dir).issuer,)
        return TokenVerifier((IssuerKeys(each, download, development=development) for each in issuers), is_revoked)
    except UnsafeIssuer as error:
        raise Unsafe(f"HEED_ISSUERS: {error}") from None
