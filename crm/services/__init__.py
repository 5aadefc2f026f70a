"""The use cases of the service: the only way in, for GraphQL, importers, commands and console alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from crm.domain.decision.rules import ContactRules
from crm.services.access_log import AccessLog
from crm.services.break_glass import BreakGlass, Rules
from crm.services.changes import Changes
from crm.services.confidential import ConfidentialCommunications
from crm.services.consents import Consents
from crm.services.contact import Contact
from crm.services.contact_verification import ContactVerification
from crm.services.delivery_reports import DeliveryReports
from crm.services.documents import TrustedDocuments
from crm.services.duplicates import Duplicates
from crm.services.editing import Editor
from crm.services.erasures import Erasures
from crm.services.evidence import Evidence, VerifierKey
from crm.services.feed import Feed, Source
from crm.services.history import History
from crm.services.holds import Holds
from crm.services.live_log import LiveLog
from crm.services.merging import Merging
from crm.services.messages import Messages
from crm.services.needs import Needs
from crm.services.own_log import OwnLog
from crm.services.profiles import Profiles
from crm.services.questions import Questions
from crm.services.related_persons import RelatedPersons
from crm.services.restrictions import Restrictions
from crm.services.retries import Retries
from crm.services.revocations import Revocations
from crm.services.senders import NoSender, Sender
from crm.store.ledger_copies import LedgerCopies
from crm.store.unit import Store

__all__ = ["Services", "services"]


@dataclass(frozen=True, slots=True)
class Services:
    """One process's use cases over one store."""

    store: Store
    profiles: Profiles
    changes: Changes
    access_log: AccessLog
    holds: Holds
    erasures: Erasures
    break_glass: BreakGlass
    consents: Consents
    confidential: ConfidentialCommunications
    restrictions: Restrictions
    related_persons: RelatedPersons
    questions: Questions
    evidence: Evidence
    own_log: OwnLog
    contact: Contact
    contact_verification: ContactVerification
    delivery_reports: DeliveryReports
    needs: Needs
    messages: Messages
    documents: TrustedDocuments
    feed: Feed
    retries: Retries
    revocations: Revocations
    history: History
    live_log: LiveLog
    merging: Merging
    duplicates: Duplicates


def services(
    store: Store,
    *,
    region: str | None = None,
    erasures: Erasures | None = None,
    break_glass: Rules | None = None,
    verifier_key: VerifierKey | None = None,
    witnesses: Sequence[str] = (),
    staff_names: bool = False,
    sender: Sender | None = None,
    contact: ContactRules | None = None,
    documents_refresh: float = 10.0,
    changes: Source | None = None,
    retries_kept: int = 48,
    conflict_hours: int = 24,
) -> Services:
    """All use cases; `region` is the ISO 3166 region in which telephone numbers without a country code are read.

    Without `erasures` the keys are in the records' database, and the erasure ledger has no copy outside. Without
    `verifier_key` logs are signed with the keys of the store. `witnesses` are verifier keys: only their lines are
    shown. With `staff_names` patients are told who looked at their record, and not only in which role. Without `sender`
    no one-time codes are sent. `contact` are the rules of contact decisions. Trusted documents are remembered for
    `documents_refresh` seconds, what was done for `retries_kept` hours; who met a conflict may compare for
    `conflict_hours`. Subscribers hear of `changes`.
    """
    profiles = Profiles(store, region=region)
    log, evidence, own_log = _logs(store, verifier_key, witnesses, staff_names=staff_names)
    kept = Holds(store, profiles), erasures or _erasures(store), BreakGlass(store, break_glass)
    binding = *kept, *_directives(store, profiles, region)
    return Services(
        store,
        profiles,
        Changes(store, profiles, region=region),
        log,
        *binding,
        Questions(store, log),
        evidence,
        own_log,
        *_contact(store, profiles, contact, sender or NoSender(), region),
        TrustedDocuments(store.database, store.clock, refresh=documents_refresh),
        Feed(store, changes),
        Retries(store, profiles, *kept, hours=retries_kept),
        Revocations(store),
        History(store, profiles, names=staff_names, hours=conflict_hours),
        LiveLog(store, log),
        Merging(store, profiles),
        Duplicates(store, profiles),
    )


def _contact(
    store: Store, profiles: Profiles, rules: ContactRules | None, sender: Sender, region: str | None
) -> tuple[Contact, ContactVerification, DeliveryReports, Needs, Messages]:
    """Whether and how to contact people, what comes of it, and what they say."""
    editor = Editor(store, profiles)
    return (
        Contact(store, rules),
        ContactVerification(store, editor, sender),
        DeliveryReports(store),
        Needs(store, profiles, editor),
        Messages(store, profiles, editor, rules, region=region),
    )


def _directives(
    store: Store, profiles: Profiles, region: str | None
) -> tuple[Consents, ConfidentialCommunications, Restrictions, RelatedPersons]:
    """What people and the organisation say of contact."""
    return (
        Consents(store, Editor(store, profiles)),
        ConfidentialCommunications(store, profiles, region=region),
        Restrictions(store, profiles),
        RelatedPersons(store, profiles, region=region),
    )


def _erasures(store: Store) -> Erasures:
    return Erasures(store, store.database, LedgerCopies(store.database))


def _logs(
    store: Store, verifier_key: VerifierKey | None, witnesses: Sequence[str], *, staff_names: bool
) -> tuple[AccessLog, Evidence, OwnLog]:
    """What is asked of the log; parameters as of `services`."""
    log = AccessLog(store)
    key_of = verifier_key or (lambda origin: store.keys.log_signer(origin).verifier_key)
    evidence = Evidence(store, log, key_of, witnesses)
    return log, evidence, OwnLog(store, log, evidence, names=staff_names)
