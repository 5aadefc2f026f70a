"""The schema room with fakes behind it: services that remember what they were asked, tokens that name a role."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from starlette.applications import Starlette

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError, PurposeNotPermitted, Unauthenticated
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from crm.catalogue import BY_PATH
from crm.domain.erasure import ErasureReason
from crm.errors import NotFound
from crm.services.contact import Inquiry
from crm.services.contact_answers import not_found
from crm.services.erasures import Receipt
from crm.services.holds import Hold, HoldReason
from crm.services.message_reading import Reply
from crm.services.profiles import Page, Refused
from crm.services.request import Request
from crm.store.break_glass import Waiting
from schema.app import create_app
from schema.settings import Settings
from tests.house import actor

ANN: dict[str, Any] = {
    "id": "ann",
    "version": 3,
    "display_name": "Ann",
    "preferred_name": "Ann",
    "cultural_need_handling": [{"id": "n1", "handling": "Offer a chaperone."}],
    "cultural_need_detail": [{"id": "n1", "kind": "MODESTY"}],
    "contact_windows": [{"days": ["MON"], "from": "09:00", "to": "17:00", "time_zone": "Europe/London"}],
    "contact_points": [{"id": "c1", "system": "PHONE", "value": "+441", "verification": {"status": "VERIFIED"}}],
}

RECEIPT = Receipt(
    patient_id="ann",
    also=(),
    former=0,
    classes=("contact", "identity"),
    whole=False,
    reason="UNLAWFUL",
    erased_at=1_700_000_000_000_000,
    ledger_seq=1,
    ledger_hash="ab" * 32,
    effective_in_copies_at=None,
    waits_for=("contact/1", "identity/1"),
    index_waits_for=("index/1",),
    due_at=1_705_000_000_000_000,
    note="a note\n",
    verifier_key=None,
)
HOLD = Hold("h1", "ann", "LITIGATION", "u-1", 1_700_000_000_000_000)


class Tokens:
    """Takes `Bearer ROLE` or `Bearer ROLE@SUBJECT` for a token of that role, in the role's ordinary purpose."""

    def verify(self, authorization: str | None, purpose: str | None = None) -> Actor:
        """The actor, or the refusal a real verifier would raise."""
        if authorization is None:
            raise Unauthenticated("missing")
        name, _, subject = authorization.removeprefix("Bearer ").partition("@")
        if name not in list(Role):
            raise Unauthenticated("signature")
        bearer = actor(Role(name), patient_id="ann" if name in PERSONAL else None, subject=subject or "u-1")
        bearer = replace(bearer, expires_at=4_000_000_000)
        if purpose is None:
            return bearer
        if purpose not in list(Purpose):
            raise PurposeNotPermitted(replace(bearer, purpose=None))
        return replace(bearer, purpose=Purpose(purpose))


@dataclass
class Asked:
    """One call of a service: its name, and the arguments that matter to a test."""

    name: str
    asked: frozenset[str] = frozenset()
    values: Any = None


@dataclass
class FakeServices:
    """Profiles, changes and access log in one; `before` runs in every call that would touch patient data."""

    calls: list[Asked] = field(default_factory=list)
    refusals: list[tuple[str, str, str | None]] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None
    known: Mapping[str, dict[str, Any]] = field(default_factory=lambda: {"ann": ANN})
    registered: dict[str, str] = field(default_factory=dict)

    @property
    def profiles(self) -> Any:
        """The use cases of reading."""
        return self

    @property
    def changes(self) -> Any:
        """The use cases of writing."""
        return self

    @property
    def merging(self) -> Any:
        """Merging records, and undoing it."""
        return self

    @property
    def retries(self) -> Any:
        """What was done before: nothing."""
        return self

    @property
    def told(self) -> dict[str, int]:
        """What came of it when it came again: it never did."""
        return {}

    async def once(
        self, actor: Actor, request: Request, change: Any, attempt: Callable[[Request], Awaitable[Any]]
    ) -> Any:
        """Does it."""
        return await attempt(request)

    @property
    def documents(self) -> Any:
        """The trusted documents."""
        return self

    async def text(self, sha256: str) -> str | None:
        """The document registered under this digest."""
        return self.registered.get(sha256)

    @property
    def holds(self) -> Any:
        """The use cases around legal holds."""
        return self

    @property
    def erasures(self) -> Any:
        """The use cases of erasure."""
        return self

    @property
    def questions(self) -> Any:
        """The officers' questions."""
        return self

    @property
    def evidence(self) -> Any:
        """The proofs of the log."""
        return self

    @property
    def confidential(self) -> Any:
        """The use cases of confidential communications."""
        return self

    @property
    def restrictions(self) -> Any:
        """The use cases of restrictions."""
        return self

    @property
    def related_persons(self) -> Any:
        """The use cases around related persons."""
        return self

    @property
    def history(self) -> Any:
        """Former versions."""
        return self

    @property
    def duplicates(self) -> Any:
        """Records that may be about one person."""
        return self

    @property
    def feed(self) -> Any:
        """The use cases of following changes."""
        return self

    @property
    def live_log(self) -> Any:
        """The log as it grows."""
        return self

    @property
    def own_log(self) -> Any:
        """What patients see of the log."""
        return self

    @property
    def contact(self) -> Any:
        """The contact decisions."""
        return self

    @property
    def consents(self) -> Any:
        """The use case of recording a directive."""
        return self

    @property
    def contact_verification(self) -> Any:
        """The use cases of verification."""
        return self

    @property
    def delivery_reports(self) -> Any:
        """The use case of a delivery report."""
        return self

    @property
    def needs(self) -> Any:
        """The life of needs."""
        return self

    @property
    def messages(self) -> Any:
        """Messages of patients."""
        return self

    @property
    def waiting(self) -> Waiting:
        """Grants that wait for a review: none."""
        return Waiting(0, None)

    @property
    def break_glass(self) -> Any:
        """The use cases around grants."""
        return self

    @property
    def access_log(self) -> Any:
        """The use cases around the log."""
        return _Log(self)

    async def admit(
        self,
        actor: Actor,
        request: Request,
        asked: frozenset[str],
        ids: Sequence[str] = (),
        action: Action = Action.READ,
        act: Act | None = None,
    ) -> Any:
        """The real policy's answer; a refusal is remembered."""
        try:
            return policy.decide_read(actor, {path: BY_PATH[path].group for path in asked}, action)
        except AuthError as refusal:
            self.refusals.append((type(refusal).__name__, request.operation, actor.subject))
            raise

    async def _note(self, name: str, asked: frozenset[str] = frozenset(), values: Any = None) -> None:
        self.calls.append(Asked(name, asked, values))
        if self.before:
            await self.before()

    async def read(self, actor: Actor, request: Request, patient_id: str, asked: frozenset[str]) -> dict[str, Any]:
        """One of the known patients."""
        await self._note("read", asked, patient_id)
        if patient_id not in self.known:
            raise NotFound
        return self.known[patient_id]

    async def read_many(
        self, actor: Actor, request: Request, ids: Sequence[str], asked: frozenset[str]
    ) -> list[dict[str, Any] | Refused]:
        """Known patients, and refusals for the rest."""
        await self._note("read_many", asked, list(ids))
        return [self.known.get(each) or Refused(each, "NOT_FOUND") for each in ids]

    async def by_identifier(
        self, actor: Actor, request: Request, system: str, value: str, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("by_identifier", asked, (system, value))
        return ANN

    async def search(
        self, actor: Actor, request: Request, by: Any, first: int, after: str | None, asked: frozenset[str]
    ) -> Page:
        """A page with the one known patient."""
        await self._note("search", asked, (by, first, after))
        return Page([ANN], ["cursor"], has_next_page=True)

    async def decide(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> dict[str, Any]:
        """That nobody is known."""
        await self._note("decide", inquiry.asked, patient_id)
        return not_found(patient_id, "contact:test", simulated=False)

    async def decide_many(
        self, actor: Actor, request: Request, ids: Sequence[str], inquiry: Inquiry
    ) -> list[dict[str, Any]]:
        """The same of each."""
        await self._note("decide_many", inquiry.asked, list(ids))
        return [not_found(each, "contact:test", simulated=False) for each in ids]

    async def explain(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> dict[str, Any]:
        """The same with its sentences."""
        await self._note("explain", inquiry.asked, patient_id)
        decision = not_found(patient_id, "contact:test", simulated=False)
        return {"decision": decision, "sentences": [], "considered": []}

    async def register(self, actor: Actor, request: Request, values: Any, asked: frozenset[str]) -> dict[str, Any]:
        """The one known patient."""
        await self._note("register", asked, values)
        return ANN

    async def update(
        self, actor: Actor, request: Request, patient_id: str, version: int | None, values: Any, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("update", asked, (patient_id, version, values))
        return ANN

    async def add_contact_point(
        self, actor: Actor, request: Request, patient_id: str, version: int | None, point: Any, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("add_contact_point", asked, (patient_id, version, point))
        return ANN

    async def update_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        version: int | None,
        point_id: str,
        point: Any,
        asked: frozenset[str],
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("update_contact_point", asked, (patient_id, version, point_id, point))
        return ANN

    async def retire_contact_point(
        self, actor: Actor, request: Request, patient_id: str, version: int | None, point_id: str, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("retire_contact_point", asked, (patient_id, version, point_id))
        return ANN

    async def record(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        version: int | None,
        directive: Any,
        asked: frozenset[str],
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("record", asked, (patient_id, version, directive))
        return ANN

    async def take(self, actor: Actor, request: Request, message: Any) -> Reply:
        """That it is about something else."""
        await self._note("take", values=message)
        return Reply("OTHER", None, None)

    async def queue(self, actor: Actor, request: Request, first: int, after: str | None, asked: frozenset[str]) -> Page:
        """An empty queue."""
        await self._note("queue", asked, (first, after))
        return Page([], [], has_next_page=False)

    async def resolve(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        version: int | None,
        suspension_id: str,
        verdict: str,
        asked: frozenset[str],
    ) -> dict[str, Any]:
        """The one known patient."""
        await self._note("resolve", asked, (patient_id, version, suspension_id, verdict))
        return ANN

    async def erase(
        self, actor: Actor, request: Request, patient_id: str, version: int | None, classes: Any, reason: ErasureReason
    ) -> Receipt:
        """A receipt."""
        await self._note("erase", values=(patient_id, version, classes, reason))
        return RECEIPT

    async def receipts(self, actor: Actor, request: Request, patient_id: str) -> list[Receipt]:
        """One receipt."""
        await self._note("receipts", values=patient_id)
        return [RECEIPT]

    async def place(self, actor: Actor, request: Request, patient_id: str, reason: HoldReason) -> Hold:
        """A hold."""
        await self._note("place", values=(patient_id, reason))
        return HOLD

    async def lift(self, actor: Actor, request: Request, patient_id: str, hold_id: str) -> Hold:
        """The same hold."""
        await self._note("lift", values=(patient_id, hold_id))
        return HOLD

    async def of(self, actor: Actor, request: Request, patient_id: str) -> list[Hold]:
        """One hold."""
        await self._note("of", values=patient_id)
        return [HOLD]


@dataclass
class _Log:
    services: FakeServices

    async def admit(
        self, actor: Actor, request: Request, action: Action = Action.AUDIT_READ, ids: Sequence[str] = ()
    ) -> str:
        """The real policy's answer; a refusal is remembered."""
        try:
            return policy.decide(actor, action)
        except AuthError as refusal:
            self.services.refusals.append((type(refusal).__name__, request.operation, actor.subject))
            raise

    async def events(self, actor: Actor, request: Request, question: Any, first: int, after: str | None) -> Page:
        """An empty page."""
        await self.services._note("events", frozenset(), (question, first, after))
        return Page([], [], has_next_page=False)

    async def unasked(self, why: str, actor: Actor, request: Request, count: int | None = None) -> None:
        """Remembers a question refused before it was put to the policy, with the number of ids."""
        self.services.refusals.append((why, request.operation, f"{actor.subject}, {count} ids"))
        if self.services.before:
            await self.services.before()

    async def refused(self, why: str, request: Request, actor: Actor | None = None, *, revoked: bool = False) -> None:
        """Remembers an attempt that got no further than its token."""
        self.services.refusals.append((why, request.operation, actor.subject if actor else None))
        if self.services.before:
            await self.services.before()


async def ready() -> Mapping[str, bool]:
    """Everything is there."""
    return {"database": True, "keys": True, "log": True}


class Speaker:
    """A client of the application, in process, over its real ASGI interface."""

    def __init__(self, app: Starlette, services: FakeServices, http: httpx.AsyncClient) -> None:
        self.app = app
        self.services = services
        self.http = http

    async def post(self, body: Any, role: str | None = "front_desk", **headers: str) -> httpx.Response:
        """POST to /graphql: bytes as they are, anything else as JSON. Header names are given with underscores."""
        given = {"content-type": "application/json"}
        if role:
            given["authorization"] = f"Bearer {role}"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return await self.http.post("/graphql", content=body, headers=given)
        return await self.http.post("/graphql", json=body, headers=given)

    async def ask(
        self, query: str, role: str = "front_desk", variables: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of a query."""
        response = await self.post({"query": query, "variables": variables}, role, **headers)
        return response.status_code, response.json()


@asynccontextmanager
async def speaking(settings: Settings | None = None, services: FakeServices | None = None) -> Any:
    """A `Speaker` to an application with these settings (production, unless others are given) and fake services."""
    fakes = services or FakeServices()
    app = create_app(fakes, Tokens(), settings or Settings(), ready)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://heed.test") as http:
        yield Speaker(app, fakes, http)


def code(answer: Mapping[str, Any]) -> str:
    """The first error code of an answer."""
    return str(answer["errors"][0]["extensions"]["code"])


async def never() -> None:
    """A call that does not come back."""
    await asyncio.Event().wait()
