"""Documents in files: GraphQL texts, and the manifests that clients' build tools write. Judges no document.

The SHA-256 of a document is that of its exact text, so no character is added, taken away or changed.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from crm.errors import Unsafe
from crm.services.documents import digest

__all__ = ["texts_of"]

APOLLO = "apollo-persisted-query-manifest"
_NO_DIGEST = (
    "is not the SHA-256 of its text in lower-case hex: let the tool that wrote it use that, over the text as sent"
)


def texts_of(path: Path) -> list[str]:
    """The documents in a file: one in a `.graphql` file or from standard input (`-`); in a `.json` file a manifest's.

    A manifest is an object of texts by SHA-256, as relay-compiler and graphql-codegen write it, or Apollo's. Raises
    Unsafe for what is none of these, and for a name in a manifest that is not the SHA-256 of its text; OSError.
    """
    octets = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    if path.suffix != ".json":
        try:
            return [octets.decode()]
        except UnicodeDecodeError:
            raise Unsafe(f"{path} is not UTF-8") from None
    try:
        content = orjson.loads(octets)
    except ValueError:
        raise Unsafe(f"{path} is not JSON") from None
    return list(_of_manifest(path, content))


def _of_manifest(path: Path, content: Any) -> Iterator[str]:
    """The texts of a manifest, each under its own name."""
    for name, text in _entries(path, content):
        if name.removeprefix("sha256:") != digest(text):
            raise Unsafe(f"{path}: {name[:80]!r} {_NO_DIGEST}")
        yield text


def _entries(path: Path, content: Any) -> Iterator[tuple[str, str]]:
    if isinstance(content, Mapping) and content.get("format") == APOLLO:
        operations = content.get("operations")
        if content.get("version") != 1 or not isinstance(operations, list):
            raise Unsafe(f"{path} is not version 1 of Apollo's manifest")
        pairs = [(each.get("id"), each.get("body")) if isinstance(each, dict) else (None, None) for each in operations]
    elif isinstance(content, Mapping):
        pairs = list(content.items())
    else:
        raise Unsafe(f"{path} is no manifest: it must be an object of texts by their SHA-256, or Apollo's")
    for name, text in pairs:
        if not (isinstance(name, str) and isinstance(text, str)):
            raise Unsafe(f"{path} is no manifest: each SHA-256 must have a text")
        yield name, text
