"""Documents in files: the exact text counts, and each entry of a manifest must be named by the SHA-256 of its text."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands.document_files import texts_of
from crm.errors import Unsafe
from crm.services.documents import digest

TEXT = "query Card {\r\n  viewer { org } # ü\n}\n"
OTHER = "{ viewer { subject } }"


def written(folder: Path, content: Any, name: str = "manifest.json") -> Path:
    """A file with this content: octets as they are, all else as JSON."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def test_a_text_is_taken_as_it_stands(tmp_path: Path) -> None:
    """White space, line ends and comments are part of what is hashed."""
    assert texts_of(written(tmp_path, TEXT.encode(), "card.graphql")) == [TEXT]


@pytest.mark.parametrize(
    "manifest",
    [
        {digest(TEXT): TEXT, f"sha256:{digest(OTHER)}": OTHER},
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [
                {"id": digest(TEXT), "name": "Card", "type": "query", "body": TEXT},
                {"id": digest(OTHER), "name": "", "type": "query", "body": OTHER},
            ],
        },
    ],
    ids=["texts by digest", "Apollo's"],
)
def test_manifests(tmp_path: Path, manifest: Any) -> None:
    """As relay-compiler and graphql-codegen write them, and as Apollo's tool does."""
    assert texts_of(written(tmp_path, manifest)) == [TEXT, OTHER]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        ([TEXT], "is no manifest: it must be an object"),
        ({digest(TEXT): 7}, "is no manifest: each"),
        ({digest(TEXT): OTHER}, "is not the SHA-256 of its text"),
        ({"900150983cd24fb0d6963f7d28e17f72": TEXT}, "is not the SHA-256 of its text"),
        ({"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}, "is not version 1"),
        ({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{}]}, "is no manifest: each"),
        ({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [7]}, "is no manifest: each"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    """In one line that names the file; nothing in it is left out silently."""
    file = written(tmp_path, content)
    with pytest.raises(Unsafe, match=said) as refused:
        texts_of(file)
    assert str(refused.value).startswith(str(file))


def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The digest is that of UTF-8."""
    with pytest.raises(Unsafe, match="is not UTF-8"):
        texts_of(written(tmp_path, b"# \xff\n{ a }", "card.graphql"))
