"""Webhooks are delivered: at least once, in order of each patient, whatever receivers and processes do."""

import asyncio
import base64
import json
import logging
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import bindparam, delete, update

from auth.roles import Role
from crm.crypto.positions import seal_position
from crm.delivery.courier import BATCH
from crm.domain.superseding import MergeReason
from crm.domain.webhooks import DELAYS, message_id
from crm.errors import Invalid, PositionExpired
from crm.services.merging import Which
from crm.store import feed, webhooks
from crm.store.statements import prepare
from crm.store.tables import change, change_head
from tests.hooked import OPERATOR, eventually, hooked
from tests.house import ORG, REQUEST, actor


async def test_a_change_arrives_signed(database_url: str, tmp_path: Path) -> None:
    """As Standard Webhooks has it: the receivers' own library finds it right, and what is in it is no value."""
    async with hooked(database_url, tmp_path) as it:
        sam = await it.house.register()
        await it.number()
        [arrived] = await it.receiver.until(1)
        assert arrived.verified(it.secret)
        assert not arrived.verified("whsec_" + "A" * 43 + "=")
        [known] = await feed.read(partial(it.house.database.fetch, ORG), ORG, 0, 10)
        assert arrived.id == message_id(it.endpoint.id, known.id)
        content = json.loads(arrived.body)
        assert content.keys() == {"type", "timestamp", "data"}
        assert content["data"].keys() == {"id", "version", "changedFields", "position"}
        assert (content["type"], content["data"]["id"], content["data"]["version"]) == ("patient.changed", sam["id"], 1)
        assert {"preferredName", "religion", "contactPoints"} <= set(content["data"]["changedFields"])
        await it.quiet()


async def test_recorded_before_it_leaves(database_url: str, tmp_path: Path) -> None:
    """While the log takes nothing, nothing leaves, and that is no failure of the endpoint; then it arrives."""
    async with hooked(database_url, tmp_path, start=False) as it:
        sam = await it.house.register()
        await it.number()
        await it.house.log.stop()
        it.couriers()

        async def held() -> bool:
            return [each.answer for each in await it.waiting()] == ["AuditUnavailable"]

        await eventually(held)
        assert it.receiver.arrived == []
        assert (await it.stored()).failures == 0
        await it.house.log.start()
        it.clock.ahead += 10
        [arrived] = await it.receiver.until(1)
        [event] = await it.told()
        subject = [leaf["pat"] for leaf in await it.house.leaves() if leaf["act"] == "create"]
        assert (event["act"], event["out"], event["req"], event["pat"]) == ("notify", "ok", arrived.id, *subject)
        assert event["who"]["sub"] == f"webhook:{it.endpoint.id}"
        assert event["chg"] == sorted(event["chg"])
        assert set(arrived.data["changedFields"]) <= set(event["chg"])
        assert arrived.data["id"] == sam["id"]


async def test_in_order_of_each_patient(database_url: str, tmp_path: Path) -> None:
    """Many changes of several patients arrive once each, of one patient in the order of versions, several at a time."""
    async with hooked(database_url, tmp_path) as it:
        people = [(await it.house.register())["id"] for _ in range(4)]
        for number in range(5):
            await asyncio.gather(*(it.change(each, f"Sam {number}") for each in people))
        await it.quiet()
        assert [it.receiver.versions(each) for each in people] == [[1, 2, 3, 4, 5, 6]] * 4
        assert len({each.id for each in it.receiver.arrived}) == 24


async def test_tried_again_under_the_same_id(database_url: str, tmp_path: Path) -> None:
    """After each failure the same message comes again in its time: the same id and octets, signed for its own time."""
    async with hooked(database_url, tmp_path) as it:
        it.receiver.script = [500, 404, 302]
        await it.house.register()
        await it.number()
        for attempts, seconds in zip((1, 2, 3), DELAYS, strict=False):
            before = await it.tried(attempts)
            wait = before.next_at / 1e6 - int(it.receiver.arrived[-1].headers["webhook-timestamp"])
            assert seconds <= wait < seconds * 1.2 + 10
            await asyncio.sleep(0.1)
            assert len(it.receiver.arrived) == attempts
            it.clock.ahead += seconds * 1.2 + 1
        await it.quiet()
        first, *others = it.receiver.arrived
        assert len(others) == 3
        assert {(each.id, each.body) for each in others} == {(first.id, first.body)}
        assert len({each.headers["webhook-timestamp"] for each in it.receiver.arrived}) == 4
        assert (await it.stored()).failures == 0
        assert len(await it.told()) == 4


async def test_what_is_newer_waits_and_others_do_not(database_url: str, tmp_path: Path) -> None:
    """While one message fails, later ones of that patient wait behind it, and everybody else's go their way."""
    async with hooked(database_url, tmp_path) as it:
        bad, good = [(await it.house.register())["id"] for _ in range(2)]
        await it.number()
        await it.receiver.until(2)
        refusing = True
        it.receiver.only = lambda each: 422 if refusing and each.data["id"] == bad else None
        await it.change(bad, "A", "B")
        await it.tried(1)
        await it.change(bad, "C")
        await it.change(good, "D", "E")

        async def arrived() -> bool:
            return it.receiver.versions(good) == [1, 2, 3]

        await eventually(arrived)
        assert it.receiver.versions(bad) == [1, 2]
        refusing = False
        it.clock.ahead += 10
        await it.quiet()
        assert it.receiver.versions(bad) == [1, 2, 2, 3, 4]


async def test_given_up_and_sent_again(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ten attempts, then it is a dead letter: said, shown, out of the way of what is newer, and to be sent again."""
    async with hooked(database_url, tmp_path) as it:
        sam = (await it.house.register())["id"]
        await it.number()
        await it.receiver.until(1)
        it.receiver.only = lambda each: 400 if each.data["version"] == 2 else None
        await it.change(sam, "A", "B")
        for attempts in range(1, 10):
            await it.tried(attempts)
            it.clock.ahead += DELAYS[attempts - 1] * 1.2 + 1

        async def gave_up() -> bool:
            return (await it.counts())[1] == 1

        await eventually(gave_up)
        it.clock.ahead += 400  # after so many failures the endpoint is left alone for a while
        await it.quiet()
        [dead] = await it.hooks.dead(ORG, it.endpoint.id)
        assert (dead.version, dead.attempts, dead.answer, dead.state) == (2, 10, "status-400", "dead")
        assert it.receiver.versions(sam) == [1, *[2] * 10, 3]
        assert "given up after 10 attempts: status-400" in caplog.text
        it.receiver.only = lambda _: None
        name = message_id(it.endpoint.id, dead.change_id)
        for wrong in ("msg_another_2", name.upper(), message_id(dead.change_id, dead.change_id)):
            with pytest.raises(Invalid):
                await it.hooks.revive(OPERATOR, REQUEST, it.endpoint.id, wrong)
        unknown = message_id(it.endpoint.id, it.endpoint.id)
        assert [await it.hooks.revive(OPERATOR, REQUEST, it.endpoint.id, each) for each in (unknown, name)] == [0, 1]
        await it.quiet()
        assert it.receiver.versions(sam)[-1] == 2
        assert it.receiver.arrived[-1].id == name
        assert await it.counts() == (0, 0)


async def test_gone_means_never_again(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """410 disables the endpoint at once, on record; enabled again, it gets what it missed, in order."""
    async with hooked(database_url, tmp_path) as it:
        it.receiver.script = [410]
        sam = (await it.house.register())["id"]
        await it.change(sam, "A")
        await it.until_state("GONE")
        await it.change(sam, "B")
        await asyncio.sleep(0.2)
        assert it.receiver.versions(sam) == [1]
        assert "is disabled: it answered 410" in caplog.text

        async def on_record() -> bool:
            said = [leaf["why"] for leaf in await it.house.leaves() if leaf["act"] == "config"]
            return said == ["WEBHOOK_ADDED", "WEBHOOK_DISABLED_GONE"]

        await eventually(on_record)
        assert await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        assert not await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.quiet()
        assert it.receiver.versions(sam) == [1, 1, 2, 3]


async def test_a_receiver_that_asks_for_patience(database_url: str, tmp_path: Path) -> None:
    """Retry-After is kept to, for the whole endpoint; then one message asks first, and the rest follows in order."""
    async with hooked(database_url, tmp_path) as it:
        people = [(await it.house.register())["id"] for _ in range(30)]
        it.receiver.status, it.receiver.headers = 429, {"retry-after": "60"}
        await it.number()
        await it.tried(1)
        tried = len(it.receiver.arrived)
        assert tried <= 8
        it.clock.ahead += 55
        await asyncio.sleep(0.2)
        assert len(it.receiver.arrived) == tried
        it.receiver.hold = asyncio.Event()
        it.receiver.most_at_once = 0
        it.clock.ahead += 30
        await it.receiver.until(tried + 1)
        await asyncio.sleep(0.2)
        assert it.receiver.most_at_once == 1
        it.receiver.status, it.receiver.headers = 200, {}
        it.receiver.hold.set()
        it.clock.ahead += 30
        await it.quiet()
        assert {each.data["id"] for each in it.receiver.arrived} == set(people)
        assert 1 < it.receiver.most_at_once <= 8


async def test_an_endpoint_that_is_away_costs_little(database_url: str, tmp_path: Path) -> None:
    """While nobody answers, few attempts are made and few messages stored; the feed keeps the rest, and its order."""
    async with hooked(database_url, tmp_path) as it:
        it.receiver.status = 503
        people = [(await it.house.register())["id"] for _ in range(BATCH + 20)]
        await it.change(people[0], *"ABCDE")
        await it.tried(1)
        await asyncio.sleep(0.3)
        waiting, dead = await it.counts()
        assert waiting <= BATCH
        assert dead == 0
        assert len(it.receiver.arrived) <= 16
        it.receiver.status = 204
        it.receiver.arrived.clear()
        it.clock.ahead += 1_000
        await it.quiet()
        assert {each.data["id"] for each in it.receiver.arrived} == set(people)
        assert it.receiver.versions(people[0]) == [1, 2, 3, 4, 5, 6]


async def test_days_of_failure_disable(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a single success for as many days as are set, an endpoint is disabled: said, counted, on record."""
    async with hooked(database_url, tmp_path, start=False) as it:
        couriers = it.couriers(days=2)
        it.receiver.status = 500
        sam = (await it.house.register())["id"]
        await it.number()
        await it.tried(1)
        assert couriers.states[ORG, it.endpoint.id].active
        it.clock.ahead += 2 * 86_400 + 100
        await it.until_state("FAILING")

        async def on_record() -> bool:
            said = [leaf["why"] for leaf in await it.house.leaves() if leaf["act"] == "config"]
            return said == ["WEBHOOK_ADDED", "WEBHOOK_DISABLED_FAILING"]

        await eventually(on_record)
        await couriers.look()
        assert not couriers.states[ORG, it.endpoint.id].active
        assert "nothing was delivered for days" in caplog.text
        it.receiver.status = 204
        await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.quiet()
        assert it.receiver.versions(sam)[-1] == 1


async def test_replay(database_url: str, tmp_path: Path) -> None:
    """From a position that a message told, everything behind it comes again: the same ids, the same octets."""
    async with hooked(database_url, tmp_path) as it:
        sam = (await it.house.register())["id"]
        await it.change(sam, "A", "B", "C")
        await it.quiet()
        first = list(it.receiver.arrived)
        it.receiver.arrived.clear()
        await it.hooks.replay(OPERATOR, REQUEST, it.endpoint.id, first[1].data["position"])
        await it.receiver.until(2)
        await it.quiet()
        assert [(each.id, each.body) for each in it.receiver.arrived] == [(each.id, each.body) for each in first[2:]]
        unknown = base64.urlsafe_b64encode(seal_position(it.store.keys, ORG, 999, 1)).decode()
        for wrong, failure in (("nonsense", Invalid), (unknown, PositionExpired)):
            with pytest.raises(failure):
                await it.hooks.replay(OPERATOR, REQUEST, it.endpoint.id, wrong)


async def test_ids_are_new_after_a_restore(database_url: str, tmp_path: Path) -> None:
    """Behind a copy positions are used again, for other changes, which a receiver that drops ids it knows must take."""
    async with hooked(database_url, tmp_path) as it:
        kept, lost = [(await it.house.register())["id"] for _ in range(2)]
        await it.number()
        await it.quiet()
        async with it.house.database.transaction(ORG) as connection:  # as a copy has it that was made after the first
            for statement in (
                delete(change).where(change.c.org == bindparam("org"), change.c.seq > 1),
                update(change_head).where(change_head.c.org == bindparam("org")).values(seq=1),
            ):
                await connection.execute(prepare(statement), org=ORG)
            await webhooks.move(connection, ORG, it.endpoint.id, 1, it.clock())
        await it.change(kept, "A")
        await it.quiet()
        told = [(each.data["id"], each.data["version"]) for each in it.receiver.arrived]
        assert sorted(told) == sorted([(kept, 1), (lost, 1), (kept, 2)])
        assert len({each.id for each in it.receiver.arrived}) == 3


async def test_a_position_that_is_not_kept(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An endpoint that lay still for longer than the feed is kept skips nothing silently: it is disabled."""
    async with hooked(database_url, tmp_path) as it:
        sam = (await it.house.register())["id"]
        await it.number()
        await it.quiet()
        await it.hooks.disable(OPERATOR, REQUEST, it.endpoint.id)
        assert not await it.hooks.disable(OPERATOR, REQUEST, it.endpoint.id)
        await it.change(sam, "A")
        await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.quiet()
        for each in it.running:
            await each.stop()
        await it.change(sam, "B", "C")
        await feed.prune(it.house.database, ORG, it.clock() + 1_000_000)
        it.couriers()
        await it.until_state("EXPIRED")
        assert it.receiver.versions(sam) == [1, 2]
        assert "not kept any more" in caplog.text
        with pytest.raises(PositionExpired):
            await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.hooks.replay(OPERATOR, REQUEST, it.endpoint.id, None)
        await it.hooks.enable(OPERATOR, REQUEST, it.endpoint.id)
        await it.change(sam, "D")
        await it.quiet()
        assert it.receiver.versions(sam) == [1, 2, 5]


async def test_a_new_secret(database_url: str, tmp_path: Path) -> None:
    """While a secret is replaced both sign, and then only the new one; without an overlap the old one ends at once."""
    async with hooked(database_url, tmp_path) as it:
        sam = (await it.house.register())["id"]
        second = await it.hooks.rotate(OPERATOR, REQUEST, it.endpoint.id, 3_600)
        await it.change(sam, "A")
        await it.quiet()
        both = it.receiver.arrived[-1]
        assert len(both.headers["webhook-signature"].split(" ")) == 2
        assert both.verified(it.secret)
        assert both.verified(second)
        it.clock.ahead += 3_601
        await it.change(sam, "B")
        await it.quiet()
        later = it.receiver.arrived[-1]
        assert len(later.headers["webhook-signature"].split(" ")) == 1
        hurried = await it.hooks.rotate(OPERATOR, REQUEST, it.endpoint.id, 3_600)
        await it.hooks.rotate(OPERATOR, REQUEST, it.endpoint.id, 3_600)
        await it.change(sam, "B2")
        await it.quiet()
        again = it.receiver.arrived[-1]
        assert len(again.headers["webhook-signature"].split(" ")) == 2
        assert not again.verified(second)
        third = await it.hooks.rotate(OPERATOR, REQUEST, it.endpoint.id, 0)
        it.clock.ahead = 0
        await it.change(sam, "C")
        await it.quiet()
        last = it.receiver.arrived[-1]
        assert last.verified(third)
        assert not last.verified(second)
        assert not last.verified(it.secret)
        assert len({it.secret, second, hurried, third}) == 4


async def test_only_what_is_its_own(database_url: str, tmp_path: Path) -> None:
    """Changes of another organisation are not told, and its officers neither see nor touch the endpoint."""
    async with hooked(database_url, tmp_path) as it:
        stranger = actor(Role.OPERATOR, org="south-clinic")
        await it.house.register(org="south-clinic")
        await it.number("south-clinic")
        assert await it.hooks.every("south-clinic") == []
        for attempt in (
            it.hooks.disable(stranger, REQUEST, it.endpoint.id),
            it.hooks.enable(stranger, REQUEST, it.endpoint.id),
            it.hooks.rotate(stranger, REQUEST, it.endpoint.id, 0),
            it.hooks.replay(stranger, REQUEST, it.endpoint.id, None),
            it.hooks.revive(stranger, REQUEST, it.endpoint.id),
            it.hooks.dead("south-clinic", it.endpoint.id),
        ):
            with pytest.raises(Invalid):
                await attempt
        await it.house.register()
        await it.number()
        await it.quiet()
        assert len(it.receiver.arrived) == 1


async def test_nobody_can_tell_from_the_log_of_the_process(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No patient, address or secret stands in what the process says, also when attempts fail."""
    caplog.set_level(logging.DEBUG)
    async with hooked(database_url, tmp_path) as it:
        it.receiver.script = [500]
        sam = (await it.house.register())["id"]
        await it.number()
        await it.tried(1)
        said = [each.getMessage() for each in caplog.records if each.name.startswith("heed")]
        assert not [line for line in said if sam in line or "of=heed" in line or it.secret[6:] in line]


async def test_a_merge_is_told_of_both(database_url: str, tmp_path: Path) -> None:
    """Two records that become one are two messages, of the id that stays and of the one that leads there."""
    async with hooked(database_url, tmp_path) as it:
        one, other = [(await it.house.register())["id"] for _ in range(2)]
        clerk, pair = actor(Role.INTEGRATION), Which(one, 1, other, 1)
        await it.house.services.merging.merge(clerk, REQUEST, pair, MergeReason.REVIEWED, frozenset())
        await it.number()
        await it.quiet()
        told = sorted((each.type, each.data["id"], each.data["version"]) for each in it.receiver.arrived)
        assert told == sorted(
            (kind, name, version)
            for name in (one, other)
            for kind, version in (("patient.changed", 1), ("patient.merged", 2))
        )
