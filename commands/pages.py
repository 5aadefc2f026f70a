"""The pages that are generated from the code: the settings, the fields, and the printed policy."""

from pathlib import Path

from auth import policy
from auth.policy import GRANTS, MatrixRow
from auth.roles import Role
from commands.settings_page import settings_page
from crm.catalogue import FIELDS, INDEXES, Field

DOCS = Path(__file__).resolve().parents[1] / "docs"


def generated() -> dict[Path, str]:
    """Every generated page by its path."""
    return {DOCS / "settings.md": settings_page(), DOCS / "fields.md": fields_page()}


def stale() -> list[Path]:
    """The generated pages whose file says something else than the code."""
    return [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]


def write() -> None:
    """Writes all generated pages."""
    for path, text in generated().items():
        path.write_text(text, "utf-8")


def policy_lines(role: Role | None = None) -> list[str]:
    """The allow-list, one line for each role and purpose, columns separated by tabs."""
    rows = [row for row in policy.matrix() if role is None or row.role == role]
    header = "\t".join(MatrixRow._fields)
    return [header, *("\t".join(row) for row in rows)]


def fields_page() -> str:
    """The text of `docs/fields.md`."""
    lines = [
        "# Fields",
        "",
        "<!-- Generated from crm/catalogue.py and auth/policy.py by `make generate`; do not edit. -->",
        "",
        "Each row is one field of the catalogue. Sealed fields are encrypted one by one under the data key of their",
        "patient and class; *clear* ones are columns of the record; *derived* ones are computed at each reading.",
        "`block` is the padding in octets, so that the length of what is stored tells little.",
        "",
        "| no. | field | label | class | block | read by | masked for | written by | FHIR R4 | meaning |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(field) for field in FIELDS if field.paths),
        "",
        "Roles see a field for the purposes that `python server.py policy show` lists. Everybody who may read a",
        "patient at all also reads `id` and `version`.",
        "",
        "## Blind indexes",
        "",
        "What can be searched, and what each index tells a thief who holds the database but no key. Values are",
        "HMAC-SHA-256 under a key of their own, different for each organisation and index, cut to the bits given.",
        "",
        "| index | from | bits | leaks |",
        "|---|---|---|---|",
        *(f"| {index.name} | {', '.join(index.fields)} | {index.bits} | {_LEAKS[index.name]} |" for index in INDEXES),
        "",
        "A family name alone is never indexed: whoever steals such an index and ranks it against a public list of",
        "names recovers most holders of the common ones without any key; cutting bits does not help against that.",
    ]
    return "\n".join(lines) + "\n"


_LEAKS = {
    "identifier": "equality; the values are unique anyway",
    "phone": "that some records may share a number; short values collide on purpose",
    "email": "that some records may share an address; short values collide on purpose",
    "full_name": "that some records may share a whole name; less than 0.05 % of patients could be guessed by rank",
    "family_birth_date": "next to nothing; the pair is practically unique",
    "source_record": "nothing; the values are unique",
    "reply": "that some records may share a number or mailbox; short values collide on purpose",
    "review_due": "which records, without names, have an access need to be reviewed in one same month; not in which",
}


def _row(field: Field) -> str:
    place = "derived" if field.derived_from else field.key_class.value if field.key_class else "clear"
    cells = [
        str(field.number),
        ", ".join(f"`{path}`" for path in field.paths),
        field.label.value,
        place,
        str(field.block) if field.key_class else "",
        _roles(field, "read"),
        _roles(field, "masked"),
        _roles(field, "write") if field.kind is not None else "",
        field.fhir,
        field.description,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _roles(field: Field, kind: str) -> str:
    return ", ".join(sorted({grant.role.value for grant in GRANTS if field.group in getattr(grant, kind)}))
