"""The use cases of the service: the only way in, for GraphQL, importers, commands and console alike."""

from dataclasses import dataclass

from crm.services.access_log import AccessLog
from crm.services.changes import Changes
from crm.services.holds import Holds
from crm.services.profiles import Profiles
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


def services(store: Store, *, region: str | None = None) -> Services:
    """All use cases; `region` is the ISO 3166 region in which telephone numbers without a country code are read."""
    profiles = Profiles(store, region=region)
    return Services(
        store,
        profiles,
        Changes(store, profiles, region=region),
        AccessLog(store),
        Holds(store, profiles),
    )
