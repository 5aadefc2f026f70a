"""What every object that holds a key has in common: it neither shows itself nor leaves the process."""

from typing import NoReturn


class Secret:
    """Prints as `***`, and refuses to be pickled or copied."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Pickle and copy both come through here. Raises TypeError."""
        raise TypeError(f"{type(self).__name__} holds a key: it is neither pickled nor copied")
