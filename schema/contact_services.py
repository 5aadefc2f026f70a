"""What the services around contact offer to this room, as protocols; `context.Services` takes them in."""

from typing import Protocol

__all__ = ["ContactServices"]


class ContactServices(Protocol):
    """The use cases around contact, each a property that is named like its module in `crm.services`."""
