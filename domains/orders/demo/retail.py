"""Reads the lines of a shop ("Online Retail" columns), plain or gzipped, and gathers them into invoices."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from io import BufferedReader
from pathlib import Path

from domains.orders.demo.errors import NoInput, NotAnInput
from domains.orders.demo.invoices import Invoice, InvoiceLine

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
CURRENCY = "GBP"
GZIP = b"\x1f\x8b"
LONGEST_LINE = 10_000
MOST_BYTES = 4 * LONGEST_LINE + 1
NO_UTF_8 = re.compile("[\udc80-\udcff]")
CUT = "the file ends in the middle of its compressed data"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(path: Path) -> list[Invoice]:
    """The invoices of a file, in the order of their first line. Raises `NoInput` or `NotAnInput`.

    A line that can't be read is noted with its invoice, or as an invoice of its own when it names none;
    it stops nothing.
    """
    invoices: dict[str, Invoice] = {}
    for number, row in rows(path):
        gather(invoices, number, row)
    return list(invoices.values())


def rows(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Each line with its number: its fields, or why it can't be read."""
    lines = text(path)
    header = next(lines, "").lstrip("\ufeff")
    names = fields_of(header)
    if isinstance(names, str) or sorted(names) != sorted(COLUMNS):
        raise NotAnInput(f"{path}: the first line must name the columns {', '.join(COLUMNS)}")
    order = [names.index(column) for column in COLUMNS]
    empty = True
    for number, line in enumerate(lines, 2):
        fields = fields_of(line)
        if not fields:
            continue
        empty = False
        if isinstance(fields, list) and len(fields) != len(order):
            fields = f"it has {len(fields)} columns instead of {len(order)}"
        yield number, [fields[place] for place in order] if isinstance(fields, list) else fields
    if empty:
        raise NotAnInput(f"{path} has a first line, but no sales")


def text(path: Path) -> Iterator[str]:
    """The lines of a file; bytes that are no UTF-8 become escapes, so that only their line is lost."""
    try:
        if path.exists() and not path.is_file():
            raise NotAnInput(f"{path} is no file")
        with path.open("rb") as probe:
            packed = probe.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            for line in pieces(file):
                yield line.decode(errors="surrogateescape").rstrip("\r\n")
    except FileNotFoundError:
        raise NoInput(f"there is no file {path}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotAnInput(f"{path} is not a readable gzip file: {error}") from None
    except EOFError:
        yield CUT
    except OSError as error:
        raise NotAnInput(f"{path} can't be read: {error.strerror}") from None


def pieces(file: gzip.GzipFile | BufferedReader) -> Iterator[bytes]:
    """The lines, each no longer than can be held: what is beyond is left out, and the line is still too long."""
    while line := file.readline(MOST_BYTES):
        piece = line
        while len(piece) == MOST_BYTES and not piece.endswith(b"\n"):
            piece = file.readline(MOST_BYTES)
        yield line


def fields_of(line: str) -> list[str] | str:
    """The fields of a line, or why there are none: an open quote ends with its line, as no field holds a line break."""
    if line == CUT:
        return CUT
    if len(line) > LONGEST_LINE:
        return f"it has more than {LONGEST_LINE} characters"
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        return f"it is not CSV: {error}"


def gather(invoices: dict[str, Invoice], number: int, row: list[str] | str) -> None:
    fields = {} if isinstance(row, str) else dict(zip(COLUMNS, row, strict=True))
    name = fields.get("InvoiceNo", "").strip() or f"line {number}"
    try:
        if isinstance(row, str):
            raise ValueError(row)
        line, at = line_of(fields)
        invoice = invoices.setdefault(name, begun(name, at, fields))
        if (invoice.customer, invoice.country) != of_whom(fields):
            raise ValueError("it is of another customer or country than its invoice")
        invoice.lines.append(line)
    except ValueError as error:
        invoices.setdefault(name, begun(name, EPOCH, fields)).unreadable[number] = str(error)


def begun(name: str, at: datetime, fields: Mapping[str, str]) -> Invoice:
    customer, country = of_whom(fields)
    return Invoice(name, at, CURRENCY, country, customer)


def of_whom(fields: Mapping[str, str]) -> tuple[str | None, str]:
    customer = fields.get("CustomerID", "").strip().removesuffix(".0")
    return customer or None, fields.get("Country", "").strip()


def line_of(fields: Mapping[str, str]) -> tuple[InvoiceLine, datetime]:
    """A line and its time. Raises `ValueError` saying what is wrong with it."""
    if NO_UTF_8.search("".join(fields.values())):
        raise ValueError("it is not UTF-8")
    if not fields["InvoiceNo"].strip():
        raise ValueError("it names no invoice")
    try:
        quantity = int(fields["Quantity"])
        price = Decimal(fields["UnitPrice"])
        at = datetime.fromisoformat(fields["InvoiceDate"])
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, InvalidOperation, OverflowError):
        raise ValueError("its quantity, price or date is none") from None
    return InvoiceLine(fields["StockCode"].strip(), fields["Description"].strip(), quantity, price), at
