"""Proofs over HTTP, on both engines: a client who trusts nothing but the verifier key checks what the log says."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.audit.checkpoint import Checkpoint, parse
from crm.audit.entry import Draft
from crm.audit.event import Act, Event, leaf_hash, rfc3339
from crm.audit.tree import EMPTY, verify_consistency, verify_inclusion
from crm.audit.writer import Seal
from crm.crypto.note import open_note
from crm.errors import Tampered
from crm.services.access_log import AccessLog
from crm.services.evidence import Evidence
from crm.store import checkpoints
from crm.store.database import Database
from crm.store.log import LogSink
from tests.asking import question
from tests.client import Client, client
from tests.conftest import Databases
from tests.forger import Forger
from tests.house import ORG, OTHER_ORG, REQUEST, actor, now
from tests.logs import START, signer, verifier_key
from tests.witnesses import COSIGNER

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKPOINT = "origin size rootHash note verifierKey publishedAt witnessedAt cosignatures"
PROOF = f"index size leaf leafHash hashes tlogProof checkpoint {{ {CHECKPOINT} }}"
OF_EVENT = f"query Proof($id: ID, $seq: LogIndex) {{ auditInclusionProof(eventId: $id, seq: $seq) {{ {PROOF} }} }}"
GROWTH = """query Growth($from: LogIndex!, $to: LogIndex) {
  auditConsistencyProof(fromSize: $from, toSize: $to) { fromSize toSize hashes } }"""
WHOLE = f"""{{ auditCompleteness {{ size epoch oldestKept checkedFrom contiguous firstMissing waiting waitingSince
  checkpoint {{ {CHECKPOINT} }} published {{ size }} witnessed {{ size }} }} }}"""
NEWEST = f"{{ auditCheckpoint {{ {CHECKPOINT} }} }}"
EVERY = {
    "auditCheckpoint": NEWEST,
    "auditInclusionProof": "{ auditInclusionProof(seq: 0) { index leaf } }",
    "auditConsistencyProof": "{ auditConsistencyProof(fromSize: 0) { toSize } }",
    "auditCompleteness": WHOLE,
}
OFFICERS = (Role.COMPLIANCE_OFFICER, Role.PRIVACY_OFFICER)


def octets(encoded: list[str]) -> list[bytes]:
    """Hashes as they are."""
    return [base64.b64decode(each, validate=True) for each in encoded]


def opened(found: dict[str, Any]) -> Checkpoint:
    """What a checkpoint says, once its signature was verified with the key that was had from elsewhere."""
    checkpoint = parse(open_note(found["note"], verifier_key(f"heed.test/{ORG}/1")))
    assert checkpoint.origin == found["origin"]
    assert (checkpoint.size, base64.b64encode(checkpoint.root).decode()) == (found["size"], found["rootHash"])
    return checkpoint


async def ask(served: Client, query: str, **variables: Any) -> dict[str, Any]:
    """What a compliance officer is answered, below the root field."""
    data = await served.data(query, Role.COMPLIANCE_OFFICER, variables=variables)
    found: dict[str, Any] = next(iter(data.values()))
    return found


async def some_events(served: Client) -> list[dict[str, Any]]:
    """A patient and a few looks; the leaves so far, oldest first."""
    patient = await served.house.register()
    for field in ("displayName", "religion", "pronouns"):
        await served.data(question(field), Role.CLINICIAN, variables={"id": patient["id"]})
    return await served.house.leaves()


async def test_an_event_is_proved(served: Client) -> None:
    """Every event by id: the leaf is what was logged, its hash is in the tree, and the tree was signed."""
    for number, leaf in enumerate(await some_events(served)):
        proof = await ask(served, OF_EVENT, id=leaf["id"])
        assert json.loads(proof["leaf"]) == leaf
        assert octets([proof["leafHash"]]) == [leaf_hash(proof["leaf"].encode())]
        checkpoint = opened(proof["checkpoint"])
        assert (proof["index"], proof["size"]) == (number, checkpoint.size)
        path = octets(proof["hashes"])
        verify_inclusion(leaf_hash(proof["leaf"].encode()), number, checkpoint.size, path, checkpoint.root)
        forged = leaf_hash(proof["leaf"].encode() + b" ")
        with pytest.raises(Tampered):
            verify_inclusion(forged, number, checkpoint.size, path, checkpoint.root)


async def test_the_proof_as_one_text(served: Client) -> None:
    """C2SP tlog-proof: a first line, the leaf, its index, the path, an empty line, and the checkpoint as signed."""
    await some_events(served)
    proof = await ask(served, OF_EVENT, seq=2)
    head, _, note = proof["tlogProof"].partition("\n\n")
    leaf = base64.b64encode(proof["leaf"].encode()).decode()
    assert head.split("\n") == ["c2sp.org/tlog-proof@v1", f"extra {leaf}", "index 2", *proof["hashes"]]
    assert note == proof["checkpoint"]["note"]
    assert parse(open_note(note, verifier_key(f"heed.test/{ORG}/1"))).size == proof["size"]


async def test_the_log_only_grew(served: Client) -> None:
    """Between any two checkpoints that a client kept, and from the empty log."""
    kept = []
    for _ in range(3):
        await some_events(served)
        kept.append(opened(await ask(served, NEWEST)))
    for earlier in kept:
        for later in kept:
            if earlier.size <= later.size:
                found = await ask(served, GROWTH, **{"from": earlier.size, "to": later.size})
                proof = octets(found["hashes"])
                verify_consistency(earlier.size, later.size, proof, earlier.root, later.root)
                if proof:
                    with pytest.raises(Tampered):
                        verify_consistency(earlier.size, later.size, proof, later.root, earlier.root)
    latest = kept[-1]
    found = await ask(served, GROWTH, **{"from": 0})
    assert found["toSize"] == latest.size
    verify_consistency(0, latest.size, octets(found["hashes"]), EMPTY, latest.root)


async def test_the_log_is_whole(served: Client) -> None:
    """Nothing is missing, nothing waits, and the checkpoint is over all."""
    await some_events(served)
    whole = await ask(served, WHOLE)
    assert whole | {"checkpoint": None} == {
        "size": len(await served.house.leaves()),
        "epoch": 1,
        "oldestKept": 0,
        "checkedFrom": 0,
        "contiguous": True,
        "firstMissing": None,
        "waiting": 0,
        "waitingSince": None,
        "checkpoint": None,
        "published": None,
        "witnessed": None,
    }
    assert opened(whole["checkpoint"]).size == whole["size"]


async def test_what_does_not_exist(served: Client) -> None:
    """Events and sizes that the log never had, and questions that name an event twice or not at all."""

    async def refusal(query: str, **variables: Any) -> Any:
        answer = await served.ask(query, Role.COMPLIANCE_OFFICER, variables=variables)
        assert not answer.json().get("data") or next(iter(answer.json()["data"].values())) is None
        return answer.json()["errors"][0]["extensions"]

    leaf = (await some_events(served))[0]
    size = len(await served.house.leaves())
    assert await refusal(OF_EVENT, id="0199c0de-0000-7000-8000-000000000001") == {"code": "NOT_FOUND"}
    assert await refusal(OF_EVENT, seq=2**53 - 1) == {"code": "NOT_FOUND"}
    for named in ({}, {"id": leaf["id"], "seq": 0}):
        assert (await refusal(OF_EVENT, **named))["rule"] == "one_of"
    assert (await refusal(GROWTH, **{"from": 0, "to": size + 100}))["field"] == "toSize"
    assert (await refusal(GROWTH, **{"from": size + 100}))["field"] == "fromSize"
    assert (await refusal(GROWTH, **{"from": 3, "to": 2}))["field"] == "fromSize"
    for wrong in (-1, 2**53, 1.5, "7", True):
        assert (await refusal(OF_EVENT, seq=wrong))["code"] == "VALIDATION_FAILED"


@pytest.mark.parametrize("name", EVERY)
async def test_who_may_see_proofs(served: Client, name: str) -> None:
    """The two officers; nobody else, and the attempt is on record, without anything of the log in the answer."""
    await some_events(served)
    for role in Role:
        answer, leaves = await served.watched(EVERY[name], role, patient="0199c0de-0000-7000-8000-000000000001")
        if role in OFFICERS:
            assert answer.json()["data"][name], role
            continue
        assert answer.json() == {"errors": answer.json()["errors"]}
        assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
        assert [(leaf["act"], leaf["out"], leaf["why"]) for leaf in leaves] == [("audit.read", "denied", "FORBIDDEN")]
    assert await served.codes(EVERY[name], None) == ["UNAUTHENTICATED"]


async def test_which_proofs_leave_an_event(served: Client) -> None:
    """The proof of an event names its patient and is one event; the others name nobody, and are none."""
    leaf = (await some_events(served))[0]
    for name, query in EVERY.items():
        _, leaves = await served.watched(query, Role.COMPLIANCE_OFFICER)
        expected = [("audit.read", "ok", leaf["pat"])] if name == "auditInclusionProof" else []
        assert [(each["act"], each["out"], each["pat"]) for each in leaves] == expected


async def test_each_organisation_proves_its_own_log(served: Client) -> None:
    """Another organisation's officer gets another log, and no event of this one."""
    leaf = (await some_events(served))[0]
    await served.house.register(org=OTHER_ORG)
    data = await served.data(NEWEST, Role.COMPLIANCE_OFFICER, org=OTHER_ORG)
    assert data["auditCheckpoint"]["origin"] == f"heed.test/{OTHER_ORG}/1"
    answer = await served.ask(OF_EVENT, Role.COMPLIANCE_OFFICER, variables={"id": leaf["id"]}, org=OTHER_ORG)
    assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
    assert leaf["id"] not in answer.text
    empty = await served.data(NEWEST, Role.COMPLIANCE_OFFICER, org="a-third-clinic")
    assert empty["auditCheckpoint"] is None


class Failing:
    """A log that takes no more events once it is `away`."""

    def __init__(self) -> None:
        self.away = False

    def around(self, database: Database) -> "Failing":
        """The sink over a real database."""
        self._inner = LogSink(database, signer)
        self.orphans = self._inner.orphans
        self.stamp = self._inner.stamp
        return self

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        """See `crm.audit.writer.Sink`."""
        if self.away:
            raise OSError("no space left on device")
        await self._inner.commit(org, drafts, seal)


async def test_while_the_log_takes_no_events(databases: Databases, shared_engine: str, tmp_path: Path) -> None:
    """What names nobody is answered; what would have to be recorded is not, nor is a refusal told."""
    url, failing = databases.create(shared_engine), Failing()
    async with client(url, tmp_path, sink=failing.around, deadline=1.0) as it:
        patient = await it.house.register()
        failing.away = True
        for name, query in EVERY.items():
            answer = await it.ask(query, Role.COMPLIANCE_OFFICER)
            assert (answer.status_code == 200) == (name != "auditInclusionProof"), name
            assert ("data" in answer.json()) == (name != "auditInclusionProof")
        refused = [
            (EVERY["auditInclusionProof"], Role.COMPLIANCE_OFFICER),
            ("{ accessSummary(groupBy: [ACTOR]) { complete } }", Role.COMPLIANCE_OFFICER),
            ("{ accessAnomalies { complete } }", Role.PRIVACY_OFFICER),
            (f'{{ accountingOfDisclosures(patientId: "{patient["id"]}") {{ complete }} }}', Role.PRIVACY_OFFICER),
            ("{ myAccessLog { pageInfo { hasNextPage } } }", Role.PATIENT),
            (NEWEST, Role.FRONT_DESK),
        ]
        for query, role in refused:
            answer = await it.ask(query, role, patient=patient["id"])
            assert (answer.status_code, answer.json().keys()) == (503, {"errors"}), query
            assert answer.json()["errors"][0]["extensions"]["code"] == "AUDIT_UNAVAILABLE"
    databases.drop(url)


async def test_pruned_events_are_still_proved(databases: Databases, shared_engine: str, tmp_path: Path) -> None:
    """By their place: the hash without the leaf; kept ones with it; and what is missing beside is named."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path) as it:
        await it.house.log.append(ORG, [Event(Act.READ, pat=f"{number:032x}") for number in range(600)])
        leaves = await it.house.leaves()
        hashes = {place: (await ask(it, OF_EVENT, seq=place))["leafHash"] for place in (0, 255, 300)}
        owner = Forger(url, ORG)
        await owner.run("DELETE FROM audit_event WHERE org = ? AND seq < ?", ORG, 256)
        await owner.run("UPDATE audit_head SET pruned = ? WHERE org = ?", 256, ORG)
        for place, leaf in ((0, None), (255, None), (300, leaves[300])):
            proof = await ask(it, OF_EVENT, seq=place)
            assert proof["leafHash"] == hashes[place]
            assert (None if proof["leaf"] is None else json.loads(proof["leaf"])) == leaf
            root = opened(proof["checkpoint"]).root
            path = octets(proof["hashes"])
            verify_inclusion(octets([proof["leafHash"]])[0], place, proof["size"], path, root)
        variables = {"id": leaves[0]["id"]}
        assert await it.codes(OF_EVENT, Role.COMPLIANCE_OFFICER, variables=variables) == ["NOT_FOUND"]
        whole = await ask(it, WHOLE)
        assert (whole["oldestKept"], whole["checkedFrom"], whole["contiguous"]) == (256, 256, True)
        for missing in (599, 401, 256):
            await owner.run("DELETE FROM audit_event WHERE org = ? AND seq = ?", ORG, missing)
            whole = await ask(it, WHOLE)
            assert (whole["contiguous"], whole["firstMissing"]) == (False, missing)
    databases.drop(url)


async def test_what_waits_and_what_was_published(databases: Databases, shared_engine: str, tmp_path: Path) -> None:
    """An event in the outbox is told with its time; published and witnessed checkpoints with theirs."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path) as it:
        await it.house.log.append(ORG, [Event(Act.READ), Event(Act.READ)])
        first = await ask(it, NEWEST)
        await checkpoints.publish(it.house.database, ORG, 1, 2, first["note"], START)
        line = "\u2014 witness.test d2l0bmVzcw==\n"
        await checkpoints.cosign(it.house.database, ORG, 1, 2, line, START + 1)
        seen = await ask(it, NEWEST)
        assert (seen["publishedAt"], seen["witnessedAt"]) == (rfc3339(START), rfc3339(START + 1))
        assert (seen["note"], seen["cosignatures"]) == (first["note"] + line, [line.rstrip("\n")])
        await it.house.log.append(ORG, [Event(Act.READ)])
        newest = await ask(it, NEWEST)
        assert (newest["size"], newest["publishedAt"], newest["cosignatures"]) == (3, None, [])
        witnessed = NEWEST.replace("auditCheckpoint", "auditCheckpoint(witnessed: true)")
        assert await ask(it, witnessed) == seen
        # Time enough for the sweeper to take it in again, were it not of tomorrow.
        tomorrow = now() + 86_400_000_000
        staged = "INSERT INTO audit_outbox (org, id, leaf, created_at) VALUES (?, ?, ?, ?)"
        await Forger(url, ORG).run(staged, ORG, "0199c0de-0000-7000-8000-000000000001", b"{}", tomorrow)
        whole = await ask(it, WHOLE)
        assert (whole["waiting"], whole["waitingSince"]) == (1, rfc3339(tomorrow))
        assert (whole["published"], whole["witnessed"]) == ({"size": 2}, {"size": 2})
        await Forger(url, ORG).run("DELETE FROM audit_outbox WHERE org = ?", ORG)
    databases.drop(url)


@pytest.mark.parametrize(
    ("literal", "accepted"), [("0", True), ("7", True), ("-1", False), ("9007199254740992", False), ("1.0", False)]
)
async def test_places_are_whole_numbers(served: Client, literal: str, accepted: bool) -> None:
    """In the document as in variables: beyond 2^31, up to what JavaScript holds, and never below 0."""
    await some_events(served)
    codes = await served.codes(f"{{ auditConsistencyProof(fromSize: {literal}) {{ toSize }} }}", Role.PRIVACY_OFFICER)
    assert codes == ([] if accepted else ["GRAPHQL_VALIDATION_FAILED"])
    beyond = "{ auditInclusionProof(seq: 9007199254740991) { index } }"
    assert await served.codes(beyond, Role.PRIVACY_OFFICER) == ["NOT_FOUND"]


async def test_made_up_checkpoints_are_not_shown(databases: Databases, shared_engine: str, tmp_path: Path) -> None:
    """Rows far ahead, or where the end of the log is, that our key did not sign: the true ones are told instead."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path) as it:
        await it.house.log.append(ORG, [Event(Act.READ), Event(Act.READ)])
        true = await ask(it, NEWEST)
        witnessed = NEWEST.replace("auditCheckpoint", "auditCheckpoint(witnessed: true)")
        row = "INSERT INTO audit_checkpoint VALUES (?, ?, ?, ?, ?, ?, ?)"
        for size in (2, 2**52):
            note = f"{true['origin']}\n{size}\n{'A' * 43}=\n\n\u2014 {true['origin']} {'A' * 92}\n"
            await Forger(url, ORG).run(row, ORG, 1, size, note, START, "\u2014 witness.test AAAAAAAA\n", START)
        assert await ask(it, witnessed) is None
        assert await ask(it, NEWEST) == true
        whole = await ask(it, WHOLE)
        assert (whole["published"], whole["witnessed"]) == (None, None)
        # The true row in the place of a made-up one, and a line of a witness that is known beside one that lies.
        await checkpoints.publish(it.house.database, ORG, 1, 2, true["note"], START)
        good = COSIGNER.cosign(true["note"].partition("\n\n")[0] + "\n", START // 1_000_000)
        store = it.house.services.store
        evidence = Evidence(store, AccessLog(store), verifier_key, [COSIGNER.verifier_key])
        for lines, shown in (("\u2014 witness.test/w1 AAAAAAAA\n", None), (good, [good.rstrip("\n")])):
            await checkpoints.cosign(it.house.database, ORG, 1, 2, lines, START + 1)
            found = await evidence.checkpoint(actor(Role.COMPLIANCE_OFFICER), REQUEST, witnessed=True)
            assert (found and found["cosignatures"]) == shown
    databases.drop(url)
