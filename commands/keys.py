"""The life of the keys on the command line: the first ones, rotation, the end of old ones, and what is where."""

import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.folders import private_folder
from commands.house import clock, house
from commands.logs import plain
from commands.progress import Advance, progress
from commands.providers import provider
from crm.audit.event import rfc3339
from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.provider import USES
from crm.services.key_life import data_keys, ends, indexes, roots, status, wraps
from crm.services.key_life.custodian import Custodian
from crm.services.key_life.data_keys import Resealed
from crm.services.key_life.ends import Ending
from crm.services.key_life.roots import Rerooted
from crm.services.key_life.status import Periods, Status
from crm.services.key_life.wraps import Rotated
from crm.settings import KeyProvider, Settings

__all__ = ["Done", "What", "destroy", "init", "opened_status", "planned", "rotate"]

_DAY = 86_400 * 1_000_000


class What(StrEnum):
    """The kinds of keys that can be rotated."""

    WRAP = "wrap"
    INDEX = "index"
    ROOT = "root"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Done:
    """What a rotation came to, in the order in which it was done."""

    each: Sequence[Rotated | Rerooted | Resealed]

    @property
    def whole(self) -> bool:
        """Whether nothing had to be left out."""
        return not any(getattr(one, "left_out", 0) for one in self.each)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {"rotated": [asdict(one) for one in self.each]}


def init(settings: Settings) -> list[str]:
    """Makes the first root keys, of HEED_KEY_USES or of every use, and returns lines to print.

    Raises `Unsafe` when there is a key ring already: a second one would not open what the first has sealed. Elsewhere
    keys that are there already are left as they are.
    """
    uses = settings.key_uses or USES
    if settings.key_provider is KeyProvider.KEYRING:
        private_folder(settings.keyring.parent)
        KeyRing.create(settings.keyring, uses)
        return [
            f"created {settings.keyring}",
            "back it up apart from the database: without it nothing can be read, and with both everything can",
        ]
    chosen = provider(settings)
    chosen.found(uses)
    return [f"{chosen.name} has root keys for {', '.join(uses)}", *(f"  {chosen.roots(use)[-1]}" for use in uses)]


async def rotate(
    settings: Settings,
    what: What | None,
    *,
    classes: Collection[KeyClass],
    due: bool,
    patient: str | None,
    before: int | None,
    quiet: bool,
) -> Done:
    """Rotates wrap keys (of `classes`, else of all), the index key, root keys or data keys; by default wrap keys.

    With `due` only what is; without `what` then whatever is. `before`, microseconds since 1970, is for data keys: which
    are old. Raises what the rotations raise.
    """
    async with _custody(settings, "keys-rotate", quiet=quiet) as custodian:
        chosen = await _due(custodian, _periods(settings)) if due else None
        done: list[Rotated | Rerooted | Resealed] = []
        if what is What.ROOT or (what is None and due):
            uses = [use for use in USES if use in custodian.provider.uses()]
            done += [
                await roots.rotate(custodian, use) for use in uses if chosen is None or f"root {use}" in chosen
            ]  # fmt: skip
        if what in (What.WRAP, None):
            held = [one for one in KeyClass if one in (classes or custodian.keyroom.keys.held)]
            done += [await wraps.rotate(custodian, one) for one in held if chosen is None or one.value in chosen]
        if (what is What.INDEX and chosen is None) or (what in (What.INDEX, None) and "index" in (chosen or ())):
            done.append(await indexes.rotate(custodian))
        if what is What.DATA:
            done.append(await _data(custodian, before or clock(), patient))
        return Done(done)


async def _data(custodian: Custodian, before: int, patient: str | None) -> Resealed:
    custodian.watch.note(f"data keys made before {rfc3339(before)}: give --before with this time to go on")
    return await data_keys.rotate(custodian, before, patient)


async def _due(custodian: Custodian, periods: Periods) -> set[str]:
    """The uses whose active key is due, and as `root identity` those whose root key is."""
    found = await status.status(custodian, periods)
    now = found.now
    active = {key.use for key in found.keys if key.state == "active" and key.due is not None and key.due <= now}
    return active | {f"root {root.use}" for root in found.roots if root.due is not None and root.due <= now}


async def planned(settings: Settings, *, hurry: bool) -> list[Ending]:
    """The old keys with what is to become of them."""
    async with _custody(settings, "keys-destroy", quiet=True) as custodian:
        return await ends.plan(custodian, settings.backup_days * _DAY, hurry=hurry)


async def destroy(settings: Settings, *, hurry: bool, quiet: bool) -> tuple[list[Ending], list[Ending]]:
    """Destroys what nothing needs any more; what was destroyed, and what stays."""
    async with _custody(settings, "keys-destroy", quiet=quiet) as custodian:
        keep = settings.backup_days * _DAY
        ended = await ends.destroy(custodian, keep, hurry=hurry)
        return ended, await ends.plan(custodian, keep, hurry=hurry)


async def opened_status(settings: Settings) -> Status:
    """What is where."""
    async with _custody(settings, "keys-status", quiet=True) as custodian:
        return await status.status(custodian, _periods(settings))


def _periods(settings: Settings) -> Periods:
    return Periods(
        settings.wrap_days * _DAY, settings.index_days * _DAY, settings.root_days * _DAY, settings.backup_days * _DAY
    )


@asynccontextmanager
async def _custody(settings: Settings, command: str, *, quiet: bool) -> AsyncIterator[Custodian]:
    request = command_request(command)
    async with house(settings) as it:
        with _Shown(quiet=quiet) as watch:
            yield Custodian(
                it.services.store,
                it.keystore,
                it.keyroom,
                it.provider,
                settings.env.value,
                lambda org: request.context(system_actor(org, Role.OPERATOR, Purpose.HSYSADMIN)),
                watch,
                settings.keys_max_age,
            )


class _Shown:
    """Shows each step as a bar or as lines, one after the other."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._step = ""
        self._bar = ExitStack()
        self._advance: Advance

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def at(self, step: str, done: int, of: int | None) -> None:
        if step != self._step:
            self._bar.close()
            self._step, self._advance = step, self._bar.enter_context(progress(step, of, quiet=self._quiet))
        self._advance(done, of)

    def note(self, line: str) -> None:
        self._bar.close()
        self._step = ""
        print(plain(line), file=sys.stderr, flush=True)
