"""Tables derived from the rows of views: a column for each field, the key as primary key, an index for each filter."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb
from psycopg.types.string import StrDumper

from domains.kernel import Domain, Row, View
from domains.personal import Personal
from projections import sql
from projections.errors import TableMismatch

SCALARS: dict[type, str] = {
    str: "text",
    Personal: "text",
    bool: "boolean",
    int: "bigint",
    Decimal: "numeric",
    datetime: "timestamptz",
}
OTHER = "jsonb"


class PersonalDumper(StrDumper):
    """A text about a person goes into its column as it is sealed."""

    def dump(self, obj: Any) -> Any:
        return super().dump(obj.text)


psycopg.adapters.register_dumper(Personal, PersonalDumper)


@dataclass(frozen=True)
class Table:
    """The table of one version of a view."""

    view: View[Any, Any]

    @cached_property
    def name(self) -> str:
        return f"{self.view.name.replace('-', '_')}_v{self.view.version}"

    @cached_property
    def columns(self) -> dict[str, tuple[str, bool]]:
        """Each column with its type, and whether it may be empty."""
        return {name: column(field.annotation) for name, field in self.view.row.model_fields.items()}

    @cached_property
    def load(self) -> Composed:
        return sql.template("load").format(columns=self.listed, table=self.identifier, key=self.key)

    @cached_property
    def save(self) -> Composed:
        arrays = SQL(", ").join(
            SQL("{}::{}[]").format(Placeholder(name), SQL(kind)) for name, (kind, _) in self.columns.items()
        )
        changes = SQL(", ").join(
            SQL("{0} = excluded.{0}").format(Identifier(name)) for name in self.columns if name != self.view.key
        )
        return sql.template("save").format(
            table=self.identifier, columns=self.listed, arrays=arrays, key=self.key, changes=changes
        )

    @cached_property
    def remove(self) -> Composed:
        return sql.template("remove").format(table=self.identifier, key=self.key)

    @cached_property
    def one(self) -> Composed:
        return sql.template("one").format(columns=self.listed, table=self.identifier, key=self.key)

    def page(self, filters: tuple[str, ...]) -> Composed:
        """A page of rows after a key, for equal values of these columns."""
        equal = SQL("{} = {}")
        conditions = [SQL("{} > %(after)s").format(self.key)]
        conditions += [equal.format(Identifier(name), Placeholder(filter_name(name))) for name in filters]
        return sql.template("page").format(
            columns=self.listed, table=self.identifier, key=self.key, conditions=SQL(" AND ").join(conditions)
        )

    def create(self, connection: Connection[Any]) -> None:
        """Makes the table, or raises `TableMismatch` when it is there with other columns."""
        wanted = {name: list(kind) for name, kind in self.columns.items()}
        known = connection.execute(sql.text("columns"), {"name": self.name}).fetchone()
        if known is not None:
            if known[0] != wanted:
                raise TableMismatch(
                    f"the row of view {self.view.name!r} has changed since its table was made: "
                    f"raise the view's version from {self.view.version} to {self.view.version + 1}"
                )
            return
        connection.execute(SQL("CREATE TABLE {} ({})").format(self.identifier, SQL(", ").join(self._definitions)))
        for name in self.view.filters:
            connection.execute(SQL("CREATE INDEX ON {} ({}, {})").format(self.identifier, Identifier(name), self.key))
        connection.execute(sql.text("remember"), {"name": self.name, "columns": Jsonb(wanted)})

    def arrays(self, rows: list[Row]) -> dict[str, list[Any]]:
        """The rows by column, as `save` takes them."""
        exact = [row.model_dump() for row in rows]
        plain = [row.model_dump(mode="json") for row in rows]
        return {
            name: [Jsonb(values[name]) for values in plain] if kind == OTHER else [values[name] for values in exact]
            for name, (kind, _) in self.columns.items()
        }

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
            SQL("{} {}{}{}{}").format(
                Identifier(name),
                SQL(kind),
                SQL(' COLLATE "C"' if kind == "text" else ""),
                SQL("" if empty else " NOT NULL"),
                SQL(" PRIMARY KEY" if name == self.view.key else ""),
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


def tables(domain: Domain) -> dict[str, Table]:
    """The table of each view, by the view's name."""
    return {view.name: Table(view) for view in domain.views}
