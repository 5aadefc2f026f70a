"""Owns the one rule by which a person is addressed, and which name is the legal one today.

A name counts as current on a day that its period may include; unknown parts of a period speak for it. The display name
is the first of:

1. the preferred name, as the person says it;
2. of the current names the first by use: nickname, usual, official, one without a use, temporary, anonymous;
3. of the names that are over or not begun yet the first by the same uses;
4. a maiden name, then an old name: people leave those behind, so they come last even where no period says that they
   ended;
5. `UNNAMED`.

Among names of one use the one that began last wins, and among equals the one that is listed first. A name is written as
its `text`; without one as given names and family name, without titles. Names in Chinese, Japanese or Korean script put
the family name first, without a space unless they are all kana. Family-first names in other scripts (Hungarian,
Vietnamese) cannot be told by their letters: their records carry a `text`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crm.domain.codes import NameUse
from crm.domain.times import holds_on

__all__ = ["UNNAMED", "composed", "display_name", "display_name_of", "legal_name_of"]

UNNAMED: Final = "Unnamed patient"
"""What stands for the name of a person whose name nobody knows; the same everywhere, and no name."""

_ADDRESSED_BY: Final[tuple[NameUse | None, ...]] = (
    NameUse.NICKNAME,
    NameUse.USUAL,
    NameUse.OFFICIAL,
    None,
    NameUse.TEMP,
    NameUse.ANONYMOUS,
)
_LEFT_BEHIND: Final[tuple[NameUse | None, ...]] = (NameUse.MAIDEN, NameUse.OLD)

_KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_ALL_KANA = re.compile(f"[{_KANA}\\s]+")
# Han with its extensions, kana and Hangul; the iteration mark and the ideographic zero occur in names.
_FAMILY_FIRST = re.compile(
    f"[{_KANA}\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af\\s]+"
)

Name = Mapping[str, Any]


def display_name(names: Sequence[Name], preferred_name: str | None, on: str) -> str:
    """How to address the person on the day `on` (`YYYY-MM-DD`); never empty.

    `names` are `values.HumanNames` as `values.parse` gives them.
    """
    if preferred_name:
        return preferred_name
    current = [name for name in names if _current(name, on)]
    for candidates, uses in ((current, _ADDRESSED_BY), (names, _ADDRESSED_BY), (names, _LEFT_BEHIND)):
        for use in uses:
            name = _latest(name for name in candidates if name.get("use") == use and composed(name))
            if name is not None:
                return composed(name)
    return UNNAMED


def display_name_of(values: Mapping[str, Any], on: str) -> str:
    """`display_name` from the cells `names` and `preferred_name`, either of which may be absent."""
    return display_name(values.get("names") or (), values.get("preferred_name"), on)


def legal_name_of(values: Mapping[str, Any], on: str) -> dict[str, Any] | None:
    """The official name on the day `on`: `{given, prefix, suffix, family?, text?}`; None where there is none.

    Never guessed from a name of another use: that somebody is usually called so says nothing about their passport.
    """
    official = (name for name in values.get("names") or () if name.get("use") == NameUse.OFFICIAL)
    name = _latest(name for name in official if _current(name, on))
    if name is None:
        return None
    lists = {part: list(name.get(part) or ()) for part in ("given", "prefix", "suffix")}
    return lists | {part: name[part] for part in ("family", "text") if name.get(part)}


def composed(name: Name) -> str:
    """One name as people read it: its text, or given names and family name in the order of its script; may be empty."""
    if name.get("text"):
        return str(name["text"])
    given: list[str] = list(name.get("given") or ())
    family: list[str] = [name["family"]] if name.get("family") else []
    letters = "".join(family + given)
    if not _FAMILY_FIRST.fullmatch(letters):
        return " ".join(given + family)
    return (" " if _ALL_KANA.fullmatch(letters) else "").join(family + given)


def _current(name: Name, on: str) -> bool:
    period = name.get("period") or {}
    return holds_on(period.get("start"), period.get("end"), on)


def _latest(names: Iterable[Name]) -> Name | None:
    # Partial dates compare as text: "2024" stands before "2024-05", which says more.
    return max(names, key=lambda name: (name.get("period") or {}).get("start") or "", default=None)
