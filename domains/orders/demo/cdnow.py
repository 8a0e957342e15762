"""Reads the CDNOW purchase history, which the wheel `Lifetimes` carries; the wheel is fetched, never copied."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from domains.orders.demo.errors import NotAnInput
from domains.orders.demo.invoices import Invoice, InvoiceLine

REQUIREMENT = "Lifetimes==0.11.3"
MEMBER = "lifetimes/datasets/CDNOW_sample.txt"
CURRENCY, COUNTRY = "USD", "USA"
FETCH_SECONDS = 120
DIGEST = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"


def fetch(cache: Path) -> Path:
    """The wheel, fetched once and held to the digest that stands here. Raises `NotAnInput`."""
    held = next(iter(cache.glob("[Ll]ifetimes-0.11.3-*.whl")), None)
    if held is None:
        cache.mkdir(parents=True, exist_ok=True)
        call = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        call += ["--disable-pip-version-check", "--dest", str(cache), REQUIREMENT]
        done = subprocess.run(call, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)  # noqa: S603
        held = next(iter(cache.glob("[Ll]ifetimes-0.11.3-*.whl")), None)
        if held is None:
            raise NotAnInput(f"{REQUIREMENT}, which carries the default input, can't be fetched: {done.stderr[-300:]}")
    if hashlib.sha256(held.read_bytes()).hexdigest() != DIGEST:
        held.unlink()
        raise NotAnInput(f"{held.name} is not the file that it was; it is removed, try again")
    return held


def read(wheel: Path) -> list[Invoice]:
    """One order for each purchase, numbered in the order of the file."""
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as lines:
        return list(purchases(line.decode().split() for line in lines))


def purchases(rows: Iterator[list[str]]) -> Iterator[Invoice]:
    """Columns: number in the whole data, customer in the sample, day, CDs bought, dollars paid."""
    for number, (_, customer, day, discs, dollars) in enumerate((row for row in rows if row), 1):
        at = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
        line = InvoiceLine("CD", f"{discs} CDs", 1, Decimal(dollars))
        yield Invoice(f"cdnow-{number:06}", at, CURRENCY, COUNTRY, customer, [line])
