"""SQL text from SQLAlchemy statements: compiled once for each engine, then run by the drivers without SQLAlchemy.

Owns parameter order and the few constructs that both engines spell differently. Touches no connection.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Table, bindparam, column, exists, func, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import LargeBinary, NullType

from crm.store import tables

__all__ = ["Form", "Growth", "Statement", "any_of", "prepare", "prepare_growth"]


class Form:
    """A statement as one engine's driver takes it: text, parameter names in the driver's order, fixed values."""

    __slots__ = ("_fixed", "_lists", "names", "sql")

    def __init__(self, sql: str, names: tuple[str, ...], fixed: Mapping[str, Any], lists: frozenset[str]) -> None:
        self.sql = sql
        self.names = names
        self._fixed = fixed
        self._lists = lists

    def arguments(self, params: Mapping[str, Any]) -> list[Any]:
        """The driver's positional arguments. RuntimeError for a missing parameter."""
        if self._fixed:
            params = {**params, **self._fixed}
        try:
            values = [params[name] for name in self.names]
        except KeyError as missing:
            raise RuntimeError(f"a statement needs the parameter {missing.args[0]}") from None
        if self._lists:
            return [
                _json_list(value) if name in self._lists else value
                for name, value in zip(self.names, values, strict=True)
            ]
        return values


def _json_list(values: list[Any]) -> str:
    """A list as SQLite's json_each takes it; octets travel as hexadecimal digits."""
    return orjson.dumps([value.hex() if isinstance(value, bytes) else value for value in values]).decode()


class Statement:
    """A statement of the program, written once with SQLAlchemy, compiled when an engine first needs it.

    `many` is the same look-up for a list, where there is one: an engine may answer several who wait by it. Of that,
    `by_ids` is true: the rows of a list are those of each of its ids, so that an engine may take a list in parts.
    """

    __slots__ = ("_element", "_on_postgresql", "by_ids", "many", "postgresql_form", "sqlite_form")

    def __init__(self, element: ClauseElement, on_postgresql: ClauseElement, many: "Statement | None" = None) -> None:
        self._element = element
        self._on_postgresql = on_postgresql
        self.many = many
        self.by_ids = False
        self.sqlite_form: Form | None = None
        self.postgresql_form: Form | None = None

    def sqlite(self) -> Form:
        """The form for sqlite3 (`?`)."""
        form = self.sqlite_form
        if form is None:
            form = self.sqlite_form = _compile(self._element, _SQLITE, json_lists=True)
        return form

    def postgresql(self) -> Form:
        """The form for asyncpg (`$1`)."""
        form = self.postgresql_form
        if form is None:
            form = self.postgresql_form = _compile(self._on_postgresql, _POSTGRESQL, json_lists=False)
        return form


def prepare(
    statement: ClauseElement, *, postgresql: ClauseElement | None = None, many: Statement | None = None
) -> Statement:
    """Make a statement of the program; call it at import, never with a value of a request inside.

    Every `bindparam("name")` becomes a required parameter; `insert(table)` without values takes every column.
    `postgresql` is the same statement for PostgreSQL where that has to be put differently. `many` makes it a look-up:
    by the parameter `id`, which comes back as the first column, or by `ids` with the same columns for a list.
    RuntimeError when it touches a table of organisations without a parameter `org`: on SQLite that is the wall.
    """
    prepared = Statement(statement, statement if postgresql is None else postgresql, many)
    touched = {part for part in visitors.iterate(statement) if isinstance(part, Table)}
    if isinstance(target := getattr(statement, "table", None), Table):
        touched.add(target)
    if touched & tables.SCOPED and "org" not in prepared.sqlite().names:
        raise RuntimeError(f"a statement on {sorted(table.name for table in touched)} has no parameter org")
    if postgresql is not None and set(prepared.postgresql().names) != set(prepared.sqlite().names):
        raise RuntimeError("the two forms of a statement have different parameters")
    if many is not None and (set(prepared.sqlite().names), set(many.sqlite().names)) != ({"org", "id"}, {"org", "ids"}):
        raise RuntimeError("a look-up takes org and id, and for many org and ids, and nothing else")
    if many is not None:
        many.by_ids = True
    return prepared


class Growth:
    """A change and, where it finds its row, rows at the end of a table: one statement on PostgreSQL, two on SQLite.

    `columns` are those of a row in their order, without the organisation, which the scope fills in.
    """

    __slots__ = ("change", "columns", "insert", "together")

    def __init__(self, change: Statement, insert: Statement, together: Statement, columns: tuple[str, ...]) -> None:
        self.change = change
        self.insert = insert
        self.together = together
        self.columns = columns


def prepare_growth(change: ReturningUpdate[Any], table: Table) -> Growth:
    """Make the statements that run `change`, which RETURNs something, and then add rows to `table`.

    The organisation is the table's first column. PostgreSQL takes each column as one array: a round trip less than with
    two statements, and less work than with one for each row. RuntimeError where a parameter of `change` has the name of
    a column.
    """
    _, *columns = table.c
    names = tuple(each.name for each in columns)
    if clash := {*names} & {*prepare(change).sqlite().names}:
        raise RuntimeError(f"a column and a parameter have one name: {sorted(clash)}")
    arrays = func.unnest(*(bindparam(each.name, type_=ARRAY(each.type)) for each in columns))
    given = arrays.table_valued(*(column(each.name, each.type) for each in columns)).render_derived("given")
    changed = change.cte("changed")
    rows = select(bindparam("org", type_=table.c.org.type), *given.c).where(exists().select_from(changed))
    added = insert(table).from_select(["org", *names], rows).cte("added")
    together = Statement(change, select(changed).add_cte(added))
    return Growth(prepare(change), prepare(insert(table)), together, names)


class AnyOf(ColumnElement[bool]):
    """`column` equals one of the values of the list parameter `name`."""

    inherit_cache = False
    # Not Boolean(): SQLAlchemy would write `… = 1` behind it on SQLite, and no index could be used.
    type = NullType()  # type: ignore[assignment]

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.name = name


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column` is in the list given as parameter `name`: one text for every length; str, int and bytes alike."""
    return AnyOf(column, name)


@compiles(AnyOf, "postgresql")
def _any_of_postgresql(element: AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    values = bindparam(element.name, type_=ARRAY(element.column.type))
    return f"{compiler.process(element.column, **kw)} = ANY ({compiler.process(values, **kw)})"


UNHEX: Final = "heed_unhex"
"""The function that `sqlite.py` gives each connection: hexadecimal text to octets (SQLite has its own since 3.41)."""


@compiles(AnyOf, "sqlite")
def _any_of_sqlite(element: AnyOf, compiler: SQLCompiler, **kw: Any) -> str:
    values = compiler.process(bindparam(element.name), **kw)
    value = f"{UNHEX}(value)" if isinstance(element.column.type, LargeBinary) else "value"
    column = compiler.process(element.column, **kw)
    return f"{column} IN (SELECT {value} FROM json_each({values}))"  # noqa: S608 - made of names of the program


class _Constants(SQLCompiler):
    """Writes the program's own integers into the text, so that a generic plan can still use a partial index."""

    def visit_bindparam(self, bindparam: Any, *args: Any, literal_binds: bool = False, **kw: Any) -> Any:
        ours = not bindparam.required and (bindparam.expanding or isinstance(bindparam.value, int))
        visit: Any = super().visit_bindparam
        return visit(bindparam, *args, literal_binds=literal_binds or ours, **kw)


class _SQLite(_Constants, SQLiteCompiler):
    pass


class _Postgres(_Constants, PGCompiler_asyncpg):
    pass


_SQLITE: Final[Any] = SQLiteDialect_pysqlite(paramstyle="qmark")
_SQLITE.statement_compiler = _SQLite
_POSTGRESQL: Final[Any] = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_POSTGRESQL.statement_compiler = _Postgres


def _compile(element: ClauseElement, dialect: Any, *, json_lists: bool) -> Form:
    compiled: Any = element.compile(dialect=dialect)
    if compiled.post_compile_params:
        raise RuntimeError("a list parameter needs any_of(), not in_()")
    names = tuple(compiled.positiontup or ())
    fixed = {name: compiled.binds[name].value for name in names if not compiled.binds[name].required}
    lists = frozenset(part.name for part in visitors.iterate(element) if isinstance(part, AnyOf))
    return Form(str(compiled), names, fixed, lists if json_lists else frozenset())
