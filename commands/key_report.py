"""What the `keys` commands say of keys: lines for people. Reads nothing."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from commands.keys import Done
from crm.audit.event import rfc3339
from crm.services.key_life.data_keys import Resealed
from crm.services.key_life.ends import Ending, Verdict
from crm.services.key_life.roots import Rerooted
from crm.services.key_life.status import KeyStatus, Status

__all__ = ["endings", "endings_json", "rotated", "status_lines", "warning"]

_DAY = 86_400 * 1_000_000

COPY = (
    "copy the key store and the root keys now: a copy of the key store from before the last rotation does not open any "
    "more; older copies of the records are read with the newest copy of the key store"
)


def rotated(done: Done) -> list[str]:
    """One line for each rotation."""
    lines = []
    for one in done.each:
        if isinstance(one, Rerooted):
            lines.append(f"root {one.use}: {one.moved} keys are now under {one.key_ref}{_resumed(one.resumed)}")
        elif isinstance(one, Resealed):
            lines.append(
                f"data keys: {one.moved} replaced, of {one.patients} patients{_rate(one.patients, one.seconds)}"
                f"{_left(one.left_out)}"
            )
        else:
            lines.append(
                f"{one.use} {one.no}: {one.moved} rows moved{_rate(one.moved, one.seconds)}"
                f"{_resumed(one.resumed)}{_left(one.left_out)}"
            )
    if any(isinstance(one, Rerooted) for one in done.each):
        lines.append("a key ring has to be copied to the other machines before a process starts there again")
    return lines or ["nothing is due"]


def _rate(count: int, seconds: float) -> str:
    return f" in {seconds:.1f} s ({count / seconds:.0f} per second)" if count and seconds else ""


def _resumed(resumed: bool) -> str:
    return "; an unfinished rotation was finished, and no other one begun" if resumed else ""


def _left(left_out: int) -> str:
    return f"; {left_out} could not be opened and stay as they were" if left_out else ""


def warning(ready: Sequence[Ending], *, hurry: bool) -> list[str]:
    """What will happen, before somebody agrees to it."""
    lines = [f"to be destroyed for good: {_name(one)}" for one in ready]
    if hurry:
        lines.append("copies of the records from before the rotation become unreadable with it, however new they are")
    return [*lines, f"afterwards {COPY}"]


def endings(ended: Sequence[Ending], kept: Sequence[Ending]) -> list[str]:
    """What was destroyed, and why the others were not."""
    lines = [f"destroyed: {_name(one)}" for one in ended]
    lines += [f"kept: {_name(one)}: {_why(one)}" for one in kept]
    return [*lines, COPY] if ended else lines or ["there is no old key"]


def endings_json(ended: Sequence[Ending], kept: Sequence[Ending]) -> dict[str, Any]:
    """The same as plain values."""
    return {"destroyed": [asdict(one) for one in ended], "kept": [asdict(one) for one in kept]}


def _name(one: Ending) -> str:
    return f"root key {one.key_ref} of {one.use}" if one.no is None else f"{one.use} {one.no}"


def _why(one: Ending) -> str:
    match one.verdict:
        case Verdict.NEEDED:
            return f"{one.references} rows are under it; run `keys rotate` to the end first"
        case Verdict.UNFINISHED:
            return "its rotation is not finished; run `keys rotate` again"
        case Verdict.YOUNG:
            return f"copies that need it are kept until {_date(one.due)}; --now does not wait for that"
        case Verdict.READY:
            return "ready"


def status_lines(status: Status) -> list[str]:
    """Keys, root keys, data keys and replicas, each in a paragraph."""
    lines = [f"{'key':<14}{'state':<11}{'age':>6}  {'rows':>9}  provider  due"]
    for key in status.keys:
        name, age = f"{key.use} {key.no}", (status.now - (key.activated_at or key.created_at)) // _DAY
        lines.append(
            f"{name:<14}{key.state:<11}{age:>4} d  {key.references:>9}  {key.provider:<8}  {_next(key, status)}"
        )
    lines += ["", f"{'root key':<38}{'since':<12}{'older':>5}  due"]
    for root in status.roots:
        due = _date(root.due) + (" (overdue)" if root.due is not None and root.due <= status.now else "")
        lines.append(f"{root.use + ' ' + root.key_ref:<38}{_date(root.since):<12}{root.older:>5}  {due}")
    lines += ["", "data keys: " + ", ".join(f"{name} {count}" for name, count in status.data_keys.items())]
    lines += [f"this process holds: {', '.join(status.holds) or 'nothing'}", ""]
    for one in status.replicas:
        silent = max(0, status.now - one.seen_at) // 1_000_000
        alive = f"seen {silent} s ago" if one.live else f"silent for {silent} s, counts as gone"
        lacks = f"; lacks {', '.join(one.lacks)}" if one.lacks else ""
        without = f"; was not given {', '.join(one.missing)}" if one.missing else ""
        lines.append(f"replica {one.node}: {alive}{lacks}{without}")
    return lines


def _next(key: KeyStatus, status: Status) -> str:
    if key.state == "pending":
        return "not written under yet: run `keys rotate` to go on"
    if key.state == "destroyed":
        return f"destroyed {_date(key.destroyed_at)}" if key.destroyed_at else "run `keys destroy` to go on"
    if key.state == "retiring" and key.due is None:
        return "not finished: run `keys rotate` to go on"
    if key.due is None:
        return "-"
    verb = "rotate" if key.state == "active" else "destroy"
    return f"{verb} {'from' if key.state == 'retiring' else 'by'} {_date(key.due)}" + (
        " (overdue)" if key.state == "active" and key.due <= status.now else ""
    )


def _date(time: int | None) -> str:
    return rfc3339(time)[:10] if time is not None else "-"
