"""Refusals of the doorkeeper, as data: reason codes, rule names and field paths, never a token, a claim or a value."""

from collections.abc import Iterable

from auth.actor import Actor

__all__ = [
    "AuthError",
    "Forbidden",
    "ForbiddenField",
    "PurposeNotPermitted",
    "PurposeRequired",
    "Revoked",
    "Unauthenticated",
]


class AuthError(Exception):
    """The root of all refusals of this room; never raised itself."""


class Unauthenticated(AuthError):
    """There is no token, or none that proves who asks.

    `reason` is a short stable word such as `expired` for the log; callers get one and the same answer for all of them.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Revoked(Unauthenticated):
    """The token was good, and is not believed any more. `actor` is set so that the refusal can be recorded."""

    def __init__(self, actor: Actor) -> None:
        super().__init__("revoked")
        self.actor = actor


class Forbidden(AuthError):
    """The actor may not do this at all. `rule` names what decided, such as `operator/HSYSADMIN`."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class ForbiddenField(AuthError):
    """The actor may do this, but not with these fields. `paths` are those to blame, sorted."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths: tuple[str, ...] = tuple(sorted(paths))
        super().__init__(", ".join(self.paths))


class PurposeRequired(AuthError):
    """The actor stated no purpose of use, neither in the token nor in the request."""


class PurposeNotPermitted(AuthError):
    """The stated purpose of use is unknown, or none of the actor's roles holds a grant for it.

    `actor` is set when the token itself was good (its purpose is then None), so that the refusal can be recorded.
    """

    def __init__(self, actor: Actor | None = None) -> None:
        super().__init__("purpose not permitted")
        self.actor = actor
