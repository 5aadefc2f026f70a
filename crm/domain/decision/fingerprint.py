"""Names a set of contact rules by what it says, so that a decision tells by which rules it was made. Changes none."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from crm.domain.decision.rules import ContactRules

__all__ = ["named"]


def named(rules: ContactRules) -> ContactRules:
    """The same rules with their `version`: `contact:` and 12 hex digits of the SHA-256 of their canonical form.

    Two sets that say the same have one version, in whatever order they were written.
    """
    content = json.dumps(_plain(replace(rules, version="")), sort_keys=True, separators=(",", ":"))
    return replace(rules, version="contact:" + hashlib.sha256(content.encode()).hexdigest()[:12])


def _plain(part: Any) -> Any:
    """Only lists, mappings with text keys, texts, numbers, booleans and None; sets are sorted."""
    if is_dataclass(part):
        return {field.name: _plain(getattr(part, field.name)) for field in fields(part)}
    if isinstance(part, Mapping):
        return {str(key): _plain(value) for key, value in part.items()}
    if isinstance(part, frozenset):
        return sorted(map(_plain, part))
    return [_plain(item) for item in part] if isinstance(part, tuple) else part
