"""GraphiQL for a browser in development: one page, and assets from an installed package. Nothing comes from elsewhere.

The assets are those of the wheel `graphene-django-graphiql-static` (BSD; it carries GraphiQL and React, both MIT). Only
its static files are read, by path: its Python code needs Django, is never imported, and Django is not installed.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["HEADERS", "asset", "installed", "page"]

PACKAGE = "graphene_django_graphiql_static"
OWN = Path(__file__).parent / "static"

_ASSETS: Mapping[str, tuple[str, str]] = {
    "graphiql.min.css": ("text/css", "graphiql.min.css"),
    "react.js": ("text/javascript", "react.production.min.js"),
    "react-dom.js": ("text/javascript", "react-dom.production.min.js"),
    "graphiql.min.js": ("text/javascript", "graphiql.min.js"),
}
"""What the page loads, by the name in its address: media type, and file name in the package."""

_OWN: Mapping[str, tuple[str, str]] = {
    "start.js": ("text/javascript", "start.js"),
    "page.css": ("text/css", "page.css"),
}

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""The page may load from this server only, and talk to it only; inline styles are the editor's own."""


def _folder() -> Path | None:
    """The folder of the installed assets; looking for a package does not import it."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static" / PACKAGE


def installed() -> bool:
    """Whether the assets are there; without them the page says how to get them."""
    folder = _folder()
    return folder is not None and all((folder / file).is_file() for _, file in _ASSETS.values())


@cache
def page() -> bytes:
    """The page, naming each asset with a digest of its content so that a browser never mixes versions."""
    name = "graphiql.html" if installed() else "missing.html"
    text = (OWN / name).read_text("utf-8")
    for each in (*_ASSETS, *_OWN):
        if (found := asset(each)) is not None:
            text = text.replace(f"graphiql/{each}", f"graphiql/{each}?{hashlib.sha256(found[1]).hexdigest()[:16]}")
    return text.encode()


@cache
def asset(name: str) -> tuple[str, bytes] | None:
    """Media type and octets of one of the page's assets, or None; names that the page does not use are unknown."""
    if name in _OWN:
        kind, file = _OWN[name]
        return kind, (OWN / file).read_bytes()
    folder = _folder()
    if name not in _ASSETS or folder is None:
        return None
    kind, file = _ASSETS[name]
    path = folder / file
    return (kind, path.read_bytes()) if path.is_file() else None
