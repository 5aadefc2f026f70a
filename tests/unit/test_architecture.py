"""The shape of the house: who may import whom, which room is the only door to a library, how large things get."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A room may import the rooms of a lower floor, and itself; two rooms of one floor do not meet.
FLOORS: dict[str, int] = {
    "server": 10,
    "commands": 9,
    "schema": 8,
    "crm.settings": 7,  # beside the rooms it configures: only the composition may read it
    "crm.interchange": 6,
    "crm.delivery": 6,
    "crm.services": 5,
    "crm.store": 4,
    "crm.crypto": 3,
    "crm.audit": 3,
    "crm.catalogue": 2,
    "crm.domain": 1,
    "crm.errors": 0,
    "auth": -1,
}
READERS: dict[str, set[str]] = {"crm.settings": {"server", "commands"}, "commands": {"server"}, "server": set()}

# The only places that may import a library.
_KEYS = {"auth/tokens.py", "auth/issuers.py", "auth/development.py"}
_ROWS = {"crm/store/", "migrations/"}
DOORS: dict[str, set[str]] = {
    "graphene": {"schema/"},
    "graphql": {"schema/"},
    "graphql_relay": {"schema/"},
    "starlette": {"schema/", "commands/"},
    "uvicorn": {"commands/"},
    "rich": {"commands/"},
    "typer": {"server.py"}
    | {f"commands/{name}_commands.py" for name in ("audit", "document", "key", "token", "webhook")},
    "cryptography": {"crm/crypto/"} | _KEYS,
    "jwt": _KEYS,
    "sqlalchemy": _ROWS,
    "asyncpg": _ROWS,
    "sqlite3": _ROWS,
    "alembic": _ROWS,
    "fhir": {"crm/interchange/"},
    "pydantic_settings": {"crm/settings/"},
    "hvac": {"crm/crypto/vault.py"},
    "requests": {"crm/crypto/vault.py"},
    "boto3": {"crm/crypto/aws_kms.py"},
    "botocore": {"crm/crypto/aws_kms.py"},
    "smtplib": {"crm/delivery/"},
    "h11": {"crm/delivery/"},
}
ENVIRONMENT = {"crm/settings/loading.py"}
ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}

NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 50


def _sources() -> dict[str, str]:
    files = [
        ROOT / "server.py",
        *(file for room in ("auth", "crm", "schema", "commands") for file in (ROOT / room).rglob("*.py")),
    ]
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files if file.exists()}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _room(module: str) -> str | None:
    """The room that `module` belongs to, or None for a library."""
    parts = module.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in FLOORS), None)


def _imports(path: str, tree: ast.Module) -> Iterator[str]:
    """The absolute name of everything imported, wherever the statement stands."""
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from crm import store` names a room as much as `import crm.store` does.
            yield from (f"{source}.{alias.name}" for alias in node.names)


def offences(path: str, source: str) -> list[str]:
    """What the file at `path` (relative to the root) breaks of the rules above, one line each."""
    tree = ast.parse(source)
    own = _room(_module(path))
    found: list[str] = []
    for name in dict.fromkeys(_imports(path, tree)):
        other = _room(name)
        if other is None:
            found += _through_the_wall(path, name)
        elif own is not None and other != own and not _allowed(own, other):
            found.append(f"{path}: {own} must not import {other}")
    if path not in ENVIRONMENT:
        found += [f"{path}: reads the environment" for node in ast.walk(tree) if _reads_environment(node)]
    return found


def _allowed(own: str, other: str) -> bool:
    return own in READERS[other] if other in READERS else FLOORS[other] < FLOORS[own]


def _through_the_wall(path: str, name: str) -> list[str]:
    doors = DOORS.get(name.partition(".")[0])
    if doors is None or any(path == door or (door.endswith("/") and path.startswith(door)) for door in doors):
        return []
    return [f"{path}: {name} may be imported only in {', '.join(sorted(doors))}"]


def _reads_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in ENVIRONMENT_NAMES for alias in node.names)
    return isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT_NAMES


def test_rooms_and_doors() -> None:
    """Every import goes downstairs, and every library comes in by its own door."""
    assert [line for path, source in _sources().items() for line in offences(path, source)] == []


def test_every_module_has_a_room() -> None:
    """Nothing lives in the hallway: each module belongs to a room whose floor is known."""
    assert [path for path in _sources() if _room(_module(path)) is None and path != "crm/__init__.py"] == []


def test_nobody_imports_the_composition_root() -> None:
    """`server.py` is a root: the tests start it as its users do, or call what it composes."""
    trees = ("auth", "crm", "schema", "commands", "migrations")
    files = [file for tree in trees for file in (ROOT / tree).rglob("*.py")]
    importers = [file for file in files if "server" in _imports("x.py", ast.parse(file.read_text(encoding="utf-8")))]
    assert importers == []


def test_migrations_know_the_store_only() -> None:
    """A migration may look at the tables, and at nothing above or beside them."""
    found = [
        f"{file.name}: {name}"
        for file in (ROOT / "migrations").rglob("*.py")
        for name in _imports(f"migrations/{file.name}", ast.parse(file.read_text(encoding="utf-8")))
        if _room(name) not in {None, "crm.store", "crm.errors"}
    ]
    assert found == []


def test_modules_have_names() -> None:
    """A module is called by what it owns, never `utils` and the like."""
    assert [path for path in _sources() if NAMELESS & set(_module(path).split("."))] == []


def test_files_and_functions_fit_on_a_page() -> None:
    """No file is longer than 400 lines and no function longer than 50."""
    found: list[str] = []
    for path, source in _sources().items():
        if (lines := source.count("\n")) > LONGEST_FILE:
            found.append(f"{path}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(f"{path}: {node.name} has {length} lines")
    assert found == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("auth/policy.py", "import crm.errors"),
        ("auth/policy.py", "from crm import catalogue"),
        ("crm/domain/names.py", "import crm.store.tables"),
        ("crm/domain/names.py", "from ..crypto import envelope"),
        ("crm/crypto/envelope.py", "from crm.audit.event import Event"),
        ("crm/interchange/fhir.py", "from crm.delivery import outbox"),
        ("crm/services/profiles.py", "from crm.settings import load"),
        ("crm/services/contact_verification.py", "from crm.delivery.smtp import SmtpSender"),
        ("crm/services/contact_verification.py", "import smtplib"),
        ("schema/http.py", "from crm import settings"),
        ("schema/http.py", "import server"),
        ("crm/services/profiles.py", "from graphql import GraphQLError"),
        ("crm/services/profiles.py", "    import sqlalchemy as sa".strip()),
        ("crm/audit/writer.py", "def late():\n    import sqlite3"),
        ("schema/http.py", "import jwt"),
        ("auth/policy.py", "import jwt"),
        ("crm/store/keystore.py", "from cryptography.hazmat.primitives import hashes"),
        ("crm/services/imports.py", "from fhir.resources.R4B.patient import Patient"),
        ("commands/providers.py", "import hvac"),
        ("crm/store/keystore.py", "import boto3"),
        ("server.py", "import graphql"),
        ("crm/store/database.py", "import os\nurl = os.environ['URL']"),
        ("crm/store/database.py", "from os import getenv"),
    ],
)
def test_an_offence_is_seen(path: str, line: str) -> None:
    """The check itself: each of these one-line offences is found."""
    assert len(offences(path, line)) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("commands/house.py", "import os, crm.settings, schema.http, crm.store.database\nprint(os.getpid())"),
        ("server.py", "import typer\nfrom commands import demo\nfrom crm.settings import load"),
        (
            "schema/http.py",
            "from crm.services import profiles\nfrom auth.tokens import TokenVerifier\nimport starlette",
        ),
        (
            "crm/services/profiles.py",
            "from crm.store.unit import Unit\nfrom crm import errors\nfrom auth import policy",
        ),
        ("crm/services/profiles.py", "from . import request\nfrom .request import Request"),
        ("crm/delivery/smtp.py", "import smtplib\nfrom crm.services.senders import Message"),
        (
            "crm/store/unit.py",
            "from crm.crypto.keyset import KeySet\nfrom crm.audit.event import Event\nimport sqlalchemy",
        ),
        ("auth/tokens.py", "import jwt\nfrom auth.actor import Actor"),
        (
            "crm/crypto/aead.py",
            "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\nimport os\nos.urandom(12)",
        ),
    ],
)
def test_the_ordinary_is_allowed(path: str, line: str) -> None:
    """The check itself: nothing is found where all is as the architecture says."""
    assert offences(path, line) == []
