"""Reads the lines of a shop ("Online Retail" columns), plain or gzipped, and gathers them into invoices."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from domains.orders.demo.errors import NoInput, NotAnInput
from domains.orders.demo.invoices import Invoice, InvoiceLine

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
CURRENCY = "GBP"
GZIP = b"\x1f\x8b"
LONGEST_LINE = 10_000
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


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    lines = text(path)
    header = next(lines, None)
    if header is None:
        raise NotAnInput(f"{path} is empty")
    names = next(csv.reader([header.lstrip("\ufeff")]), [])
    if sorted(names) != sorted(COLUMNS):
        raise NotAnInput(f"{path}: the first line must name the columns {', '.join(COLUMNS)}")
    order = [names.index(column) for column in COLUMNS]
    for number, line in enumerate(lines, 2):
        fields = parsed(line)
        if fields:
            yield number, [fields[place] for place in order] if len(fields) == len(order) else fields


def text(path: Path) -> Iterator[str]:
    """The lines of a file; bytes that are no UTF-8 become escapes, so that only their line is lost."""
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            for line in file:
                yield line.decode(errors="surrogateescape").rstrip("\r\n")
    except FileNotFoundError:
        raise NoInput(f"there is no file {path}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotAnInput(f"{path} is not a readable gzip file: {error}") from None
    except EOFError:
        yield "the file ends in the middle of its compressed data"
    except OSError as error:
        raise NotAnInput(f"{path} can't be read: {error.strerror}") from None


def parsed(line: str) -> list[str]:
    """The fields of one line. In this data no field holds a line break, so an open quote ends with its line."""
    try:
        return next(csv.reader([line[:LONGEST_LINE]], strict=True), [])
    except csv.Error:
        return [line[:LONGEST_LINE]]


def gather(invoices: dict[str, Invoice], number: int, row: list[str]) -> None:
    fields = dict(zip(COLUMNS, row, strict=False))
    name = fields["InvoiceNo"].strip() if len(row) == len(COLUMNS) else ""
    try:
        line, at = line_of(fields, len(row))
    except ValueError as error:
        invoice = invoices.setdefault(name or f"line {number}", begun(name or f"line {number}", EPOCH, fields))
        invoice.unreadable.append(f"line {number}: {error}")
        return
    invoice = invoices.setdefault(name, begun(name, at, fields))
    invoice.lines.append(line)


def begun(name: str, at: datetime, fields: Mapping[str, str]) -> Invoice:
    customer = fields.get("CustomerID", "").strip().removesuffix(".0")
    return Invoice(name, at, CURRENCY, fields.get("Country", "").strip(), customer or None)


def line_of(fields: Mapping[str, str], count: int) -> tuple[InvoiceLine, datetime]:
    """A line and its time. Raises `ValueError` saying what is wrong with it."""
    if count != len(COLUMNS):
        raise ValueError(f"{count} columns instead of {len(COLUMNS)}")
    if any("\udc80" <= character <= "\udcff" for value in fields.values() for character in value):
        raise ValueError("it is not UTF-8")
    if not fields["InvoiceNo"].strip():
        raise ValueError("it names no invoice")
    try:
        quantity = int(fields["Quantity"])
        price = Decimal(fields["UnitPrice"])
        at = datetime.fromisoformat(fields["InvoiceDate"])
    except (ValueError, InvalidOperation):
        raise ValueError("its quantity, price or date is none") from None
    line = InvoiceLine(fields["StockCode"].strip(), fields["Description"].strip(), quantity, price)
    return line, at if at.tzinfo else at.replace(tzinfo=UTC)
