"""A thousand contact decisions in one call, beside reading a thousand rows bare, and where the time of one goes.

Each decision is sealed, opened, decided and recorded durably, as it is for a sender. The people are those of the demo.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any

import orjson

from auth.development import DevelopmentIssuer
from auth.roles import Role
from bench import bare, reads
from commands.actors import command_request, system_actor
from commands.house import House
from crm.domain.codes import CommunicationPurpose
from crm.domain.decision import decide
from crm.domain.decision.rules import DEFAULT_SENDER
from crm.interchange import samples
from crm.interchange.importer import CHUNK
from crm.services.changes import canonical
from crm.services.contact import NAMES, Inquiry
from crm.services.imports import Draft, Imports, Incoming
from crm.services.request import Request
from crm.store import opening
from crm.store import record as records
from crm.store.record import Record

COUNT = 1_000
_DAY = "2026-11-01"
PURPOSE = CommunicationPurpose.APPOINTMENT_REMINDER
_QUERY = """query Reminders($ids: [ID!]!) { contactDecisions(patientIds: $ids, purpose: APPOINTMENT_REMINDER) {
  patientId outcome reasons channel contactPoint { id value } language format salutation nextPermittedAt decisionId
  expiresAt unmetNeeds } }"""
_ASKED = frozenset({"contact_point", "language", "format", "salutation", "unmet_needs"})


async def fill(house: House) -> list[str]:
    """Stores `COUNT` patients of the demo's kind; their ids."""
    imports = Imports(house.services.store, system_actor(reads.ORG), command_request("bench"))
    await imports.admit()
    people = enumerate(samples.generate(COUNT, seed=2026))
    ids: list[str] = []
    while chunk := [_draft(number, dict(person)) for number, person in islice(people, CHUNK)]:
        incoming = [draft.incoming for draft in chunk]
        known = await imports.known(incoming)
        await imports.apply(list(zip(chunk, known, strict=True)))
        ids += [entry.patient_id for entry in await imports.known(incoming) if entry]
    await bare.refresh_statistics(house.settings.database_url)
    return ids


def _draft(number: int, person: dict[str, Any]) -> Draft:
    restricted = bool(person.pop("restricted", False))
    incoming = Incoming("bench", None, f"decided-{number}", (), f"decided/{number}".encode())
    return Draft(incoming, canonical(person, region="GB"), restricted)


def authorization(house: House) -> str:
    """The header of a token of a sender."""
    issuer = DevelopmentIssuer(house.settings.data_dir)
    return "Bearer " + issuer.sign(Role.MESSAGING, "bench", org=reads.ORG, ttl=7200)


async def compare(house: House, bare_url: str, ids: Sequence[str], rounds: int, seconds: float) -> list[str]:
    """The call through GraphQL, and the service alone, each beside the bare read of as many rows; in process."""
    inside = await reads.Inside.of(house, authorization(house))
    answer = orjson.loads(await inside.ask(_QUERY, {"ids": list(ids)}))["data"]["contactDecisions"]
    outcomes = Counter(each["outcome"] for each in answer)
    texts = [orjson.dumps(each).decode() for each in answer]
    await bare.filled(bare_url, [(reads.ORG, each, "", text) for each, text in zip(ids, texts, strict=True)])
    request, inquiry = Request("bench", "Reminders"), Inquiry(PURPOSE, asked=_ASKED)

    async def graphql(_: int) -> bytes:
        return await inside.ask(_QUERY, {"ids": list(ids)})

    async def service(_: int) -> bytes:
        await house.services.contact.decide_many(inside.actor, request, ids, inquiry)
        return b""

    async with bare.opened(bare_url) as table:
        floor = ([reads.bare_asking(table, [{"ids": list(ids)}])], time.process_time)
        cases = [
            reads.Case(title, "in process", 1, ([ask], time.process_time), floor)
            for title, ask in (("through GraphQL", graphql), ("the service alone", service))
        ]
        results = await reads.compare(cases, rounds, seconds)
    head = f"{COUNT} decisions in one call, in process ({_told(outcomes)}), beside a bare read of as many rows:"
    return [head, *(_line(title, pairs) for (title, _, _), pairs in results.items())]


def _line(title: str, pairs: Sequence[reads.Pair]) -> str:
    """Decisions a second, milliseconds and processor time of a call, and the ratios, medians over the rounds."""
    heed = [ours for ours, _ in pairs]
    rate, wait = statistics.median(each.rate for each in heed), statistics.median(each.p50 for each in heed)
    cpu = statistics.median(each.cpu for each in heed) / COUNT
    longer = statistics.median(ours.p50 / floor.p50 for ours, floor in pairs)
    dearer = statistics.median(ours.cpu / floor.cpu for ours, floor in pairs if floor.cpu > 0)
    return (
        f"{title:<20} {rate * COUNT:7.0f}/s, {wait:5.0f} ms a call ({longer:.0f} times the bare read), "
        f"{cpu:.0f} µs of processor time for one ({dearer:.0f} times)"
    )


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())


async def steps(house: House, ids: Sequence[str], rounds: int) -> list[str]:
    """Microseconds of this thread for one decision, by what they are spent on; medians of the rounds."""
    store, contact = house.services.store, house.services.contact
    inside = await reads.Inside.of(house, authorization(house))
    request, inquiry = Request("bench", "Reminders"), Inquiry(PURPOSE, asked=_ASKED)
    spent: dict[str, list[float]] = {name: [] for name in ("load", "open", "decide", "tell and record", "all of it")}
    for _ in range(rounds):
        ends = [time.thread_time()]
        found = await records.load(partial(store.database.fetch, reads.ORG), reads.ORG, ids, NAMES)
        ends.append(time.thread_time())
        opened = [(each, opening.reveal(store.keys, each, NAMES, _DAY)) for each in found.values()]
        ends.append(time.thread_time())
        now = store.clock()
        for record, values in opened:
            _decided(house, record, values, now)
        ends.append(time.thread_time())
        del found, opened, record, values  # what is kept makes every collection of garbage slower
        begun = time.thread_time()
        await contact.decide_many(inside.actor, request, ids, inquiry)
        whole = time.thread_time() - begun
        parts = [later - earlier for earlier, later in pairwise(ends)]
        for name, taken in zip(spent, (*parts, whole - sum(parts), whole), strict=True):
            spent[name].append(taken / len(ids) * 1e6)
    return [f"{name:<20} {statistics.median(each):8.1f} µs" for name, each in spent.items()]


def _decided(house: House, record: Record, values: Mapping[str, Any], now: int) -> None:
    rules = house.services.contact.rules
    decide(values, PURPOSE, DEFAULT_SENDER, rules, now, use="COC", reach=False, restricted=record.restricted)
