"""The settings of a process. Read only by `server.py` and its commands; everybody below gets values as arguments."""

from crm.settings.codes import CodeSender
from crm.settings.documents import DocumentsAllowed
from crm.settings.loading import load
from crm.settings.variables import PREFIX, Environment, KeyProvider, LogLevel, Settings, StaffShown

__all__ = [
    "PREFIX",
    "CodeSender",
    "DocumentsAllowed",
    "Environment",
    "KeyProvider",
    "LogLevel",
    "Settings",
    "StaffShown",
    "load",
]
