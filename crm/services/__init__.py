"""The use cases of the service: the only way in, for GraphQL, importers, commands and console alike."""

from dataclasses import dataclass

from crm.services.access_log import AccessLog
from crm.services.changes import Changes
from crm.services.erasures import Erasures
from crm.services.holds import Holds
from crm.services.profiles import Profiles
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


def services(store: Store, *, region: str | None = None, erasures: Erasures | None = None) -> Services:
    """All use cases; `region` is the ISO 3166 region in which telephone numbers without a country code are read.

    Without `erasures` the keys are in the records' database, and the erasure ledger has no copy outside.
    """
    profiles = Profiles(store, region=region)
    return Services(
        store,
        profiles,
        Changes(store, profiles, region=region),
        AccessLog(store),
        Holds(store, profiles),
        erasures or Erasures(store, store.database, LedgerCopies(store.database)),
    )
