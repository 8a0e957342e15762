"""Tables derived from the rows of views: a column for each field, the key as primary key, an index for each filter."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from types import UnionType
from typing import Any, Literal, LiteralString, Union, get_args, get_origin

from psycopg import Connection
from psycopg.adapt import PyFormat
from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from domains.kernel import Domain, Row, View
from domains.personal import Personal, personal_fields
from projections import sql
from projections.errors import TableMismatch
from projections.paging import Place
from projections.shapes import Shape, holds, shape

SCALARS: dict[type, str] = {
    str: "text",
    Personal: "text",
    bool: "boolean",
    int: "bigint",
    Decimal: "numeric",
    datetime: "timestamptz",
}
OTHER = "jsonb"
# Which rows come behind one with a value, or with nothing, in a column; the second word: whether the order is turned.
BEHIND: dict[tuple[str, bool], LiteralString] = {
    ("key", False): "{key} > %(after)s",
    ("key", True): "{key} < %(after)s",
    ("value", False): "({column}, {key}) > (%(value)s, %(after)s)",
    ("value", True): "({column}, {key}) < (%(value)s, %(after)s)",
    ("value or empty", False): "(({column}, {key}) > (%(value)s, %(after)s) OR {column} IS NULL)",
    ("empty", False): "({column} IS NULL AND {key} > %(after)s)",
    ("empty", True): "({column} IS NOT NULL OR {key} < %(after)s)",
}
NEXT, PREVIOUS = "_next", "_previous"


@dataclass(frozen=True)
class Table:
    """The table of one version of a view: the live one, or with a suffix one that stands beside it."""

    view: View[Any, Any]
    suffix: str = ""

    @cached_property
    def name(self) -> str:
        return f"{self.view.name.replace('-', '_')}_v{self.view.version}{self.suffix}"

    @cached_property
    def columns(self) -> dict[str, tuple[str, bool]]:
        """Each column with its type, and whether it may be empty."""
        return {name: column(field.annotation) for name, field in self.view.row.model_fields.items()}

    @cached_property
    def load(self) -> bytes:
        return sql.template("load").format(columns=self.listed, table=self.identifier, key=self.key).as_bytes()

    @cached_property
    def save(self) -> bytes:
        binary = {name: Placeholder(name, PyFormat.BINARY) for name in self.columns}
        arrays = SQL(", ").join(
            SQL("{}::{}[]").format(binary[name], SQL(kind)) for name, (kind, _) in self.columns.items()
        )
        changes = SQL(", ").join(
            SQL("{0} = excluded.{0}").format(Identifier(name)) for name in self.columns if name != self.view.key
        )
        saving = sql.template("save").format(
            table=self.identifier, columns=self.listed, arrays=arrays, key=self.key, changes=changes
        )
        return saving.as_bytes()

    @cached_property
    def remove(self) -> bytes:
        return sql.template("remove").format(table=self.identifier, key=self.key).as_bytes()

    @cached_property
    def one(self) -> bytes:
        return sql.template("one").format(columns=self.listed, table=self.identifier, key=self.key).as_bytes()

    def page(self, filters: tuple[str, ...], place: Place) -> bytes:
        """A page of rows behind a place, for equal values of these columns."""
        kind = (filters, place.column, place.descending, place.value is None, not place.key)
        if (known := self._pages.get(kind)) is None:
            known = self._pages[kind] = self._page(filters, place).as_bytes()
        return known

    @cached_property
    def _pages(self) -> dict[tuple[Any, ...], bytes]:
        """The statements of pages by their kind: to put one together takes longer than to run it."""
        return {}

    def _page(self, filters: tuple[str, ...], place: Place) -> Composed:
        equal = SQL("{} = {}")
        conditions = [equal.format(Identifier(name), Placeholder(filter_name(name))) for name in filters]
        conditions += [self._behind(place)] if place.key else []
        columns, direction = filter(None, (place.column, self.view.key)), SQL("DESC" if place.descending else "ASC")
        order = SQL(", ").join(SQL("{} {}").format(Identifier(name), direction) for name in columns)
        chosen = SQL(" AND ").join(conditions) if conditions else SQL("true")
        return sql.template("page").format(columns=self.listed, table=self.identifier, conditions=chosen, order=order)

    def _behind(self, place: Place) -> Composed:
        if place.column is None:
            return SQL(BEHIND["key", place.descending]).format(key=self.key)
        if place.value is None:
            kind = "empty"
        else:
            kind = "value or empty" if self.columns[place.column][1] and not place.descending else "value"
        return SQL(BEHIND[kind, place.descending]).format(column=Identifier(place.column), key=self.key)

    def create(self, connection: Connection[Any]) -> None:
        """Makes the table, or raises `TableMismatch` when it is there with other columns."""
        known = connection.execute(sql.text("columns"), {"name": self.name}).fetchone()
        if known is None:
            for statement in (self.made, *self.indexes):
                connection.execute(statement)
        elif changed := self._changed(known[0]):
            raise TableMismatch(
                f"the row of view {self.view.name!r} has changed since its table was made, in {', '.join(changed)}: "
                f"raise the view's version from {self.view.version} to {self.view.version + 1}"
            )
        connection.execute(sql.text("remember"), {"name": self.name, "columns": self.remembered})

    def _changed(self, known: Mapping[str, Sequence[Any]]) -> list[str]:
        """The columns that are others than those remembered; older tables have no shapes."""
        wanted: Mapping[str, Sequence[Any]] = self.remembered.obj
        return [
            name
            for name in sorted(wanted.keys() | known.keys())
            if list(wanted.get(name, ()))[:2] != list(known.get(name, ()))[:2]
            or not all(map(holds, wanted[name][2:], known[name][2:]))
        ]

    @property
    def remembered(self) -> Jsonb:
        """The columns as the database keeps them, to be compared later."""
        return Jsonb({name: [*kind, self.shapes[name]] for name, kind in self.columns.items()})

    @property
    def shapes(self) -> dict[str, Shape]:
        """What the values of each column look like inside."""
        return {name: shape(field.annotation) for name, field in self.view.row.model_fields.items()}

    @property
    def made(self) -> Composed:
        """Makes the table, without its indexes."""
        return SQL("CREATE TABLE {} ({})").format(self.identifier, SQL(", ").join(self._definitions))

    @property
    def indexes(self) -> list[Composed]:
        """The key, and an index for each filter."""
        key = SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(self.identifier, self.key)
        filters = [
            SQL("CREATE INDEX ON {} ({}, {})").format(self.identifier, Identifier(name), self.key)
            for name in self.view.filters
        ]
        return [key, *filters]

    @property
    def copy(self) -> Composed:
        return SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(self.identifier, self.listed)

    @cached_property
    def rows(self) -> Callable[[list[dict[str, Any]]], list[Row]]:
        """Rows of what `load` gave."""
        return TypeAdapter(list[self.view.row]).validate_python  # type: ignore[name-defined]

    @cached_property
    def copied(self) -> Callable[[Row], Sequence[Any]]:
        """A row as `copy` takes it: its values, those about persons as they are sealed."""
        others = {name for name, (column_kind, _) in self.columns.items() if column_kind == OTHER}
        kind: type[Row] = self.view.row
        sealed = personal_fields(kind)
        if not others and not sealed and len(self.columns) > 1:
            return attrgetter(*self.columns)

        def values(row: Row) -> list[Any]:
            plain = row.model_dump(mode="json", include=others) if others else {}
            if sealed:
                row = row.model_copy(update={name: text.text for name in sealed if (text := getattr(row, name))})
            return [Jsonb(plain[name]) if name in plain else getattr(row, name) for name in self.columns]

        return values

    def arrays(self, rows: list[Row]) -> dict[str, list[Any]]:
        """The rows by column, as `save` takes them."""
        values = zip(*map(self.copied, rows), strict=True)
        return {name: list(column) for name, column in zip(self.columns, values, strict=True)}

    @property
    def identifier(self) -> Identifier:
        return Identifier(self.name)

    @property
    def key(self) -> Composed:
        """Keys are compared byte by byte, so that pages have the same order everywhere."""
        return SQL("{}").format(Identifier(self.view.key))

    @property
    def listed(self) -> Composed:
        return SQL(", ").join(map(Identifier, self.columns))

    @property
    def _definitions(self) -> list[Composed]:
        return [
            SQL("{} {}{}{}").format(
                Identifier(name),
                SQL(kind),
                SQL(' COLLATE "C"' if kind == "text" else ""),
                SQL("" if empty else " NOT NULL"),
            )
            for name, (kind, empty) in self.columns.items()
        ]


def filter_name(column: str) -> str:
    """The parameter of a filter; no column has that name."""
    return f"filter:{column}"


def column(annotation: Any) -> tuple[str, bool]:
    """The column type of a field's annotation, and whether it may be empty."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [part for part in get_args(annotation) if part is not type(None)]
        empty = len(kinds) < len(get_args(annotation))
        return (column(kinds[0])[0] if len(kinds) == 1 else OTHER), empty
    if get_origin(annotation) is Literal:
        return ("text" if all(isinstance(value, str) for value in get_args(annotation)) else OTHER), False
    return SCALARS.get(annotation, OTHER), False


def signature(names: Iterable[str]) -> str:
    """For which tables the positions count, in the form in which they keep it."""
    return " ".join(sorted(names))


def tables(domain: Domain) -> dict[str, Table]:
    """The table of each view, by the view's name."""
    return {view.name: Table(view) for view in domain.views}
