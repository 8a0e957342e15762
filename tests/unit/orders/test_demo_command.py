"""`headrace demo --input` with what is no input: a sentence, an exit code, and nothing is started."""

import gzip
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from domains.orders.demo.commands import app

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
GOOD = "536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
PACKED = gzip.compress((HEADER + GOOD * 1000).encode())
USAGE, NOT_FOUND = 2, 3

CONTENTS = {
    "empty.csv": b"",
    "one line break.csv": b"\n",
    "only a first line.csv": HEADER.encode(),
    "only empty lines.csv": HEADER.encode() + b"\r\n\r\n",
    "other columns.csv": b"a,b,c\n1,2,3\n",
    "a column too few in the first line.csv": HEADER.replace(",Country", "").encode() + GOOD.encode(),
    "no first line.csv": GOOD.encode(),
    "utf-16.csv": (HEADER + GOOD).encode("utf-16"),
    "binary.csv": bytes(range(256)) * 4000,
    "no line at all.csv": b"x" * 1_000_000,
    "no gzip.csv.gz": b"\x1f\x8b" + b"not gzip at all" * 10,
    "empty.csv.gz": gzip.compress(b""),
    "cut in its first bytes.csv.gz": PACKED[:8],
    "damaged.csv.gz": PACKED[:40] + bytes(255 - byte for byte in PACKED[40:60]) + PACKED[60:],
    "followed by something else.csv.gz": PACKED + b"something else",
}


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(file):
        done = CliRunner().invoke(app, ["--input", str(file), "--exit", "--json"])
        assert not (tmp_path / ".headrace" / "state.json").exists()
        assert "Traceback" not in done.output
        assert done.stdout == ""
        return done.exit_code, done.stderr

    return run


@pytest.fixture
def unreadable(tmp_path):
    """A file that its reader is refused; root is refused nothing by rights, but by the first page of its memory."""
    if os.geteuid() == 0:
        return Path("/proc/self/mem")
    file = tmp_path / "secret.csv"
    file.write_text(HEADER + GOOD)
    file.chmod(0)
    return file


def is_a_sentence_about(file, said):
    return str(file) in said and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_holds_no_sales_is_refused_in_a_sentence(demo, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(CONTENTS[name])
    code, said = demo(file)
    assert code == USAGE
    assert is_a_sentence_about(file, said)


def test_a_file_that_is_not_there_is_not_found(demo, tmp_path):
    code, said = demo(tmp_path / "nothing.csv")
    assert code == NOT_FOUND
    assert is_a_sentence_about(tmp_path / "nothing.csv", said)


def test_what_is_no_file_is_refused(demo, tmp_path):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door")
        for place in (tmp_path, tmp_path / "door", tmp_path / "door" / "in.csv", tmp_path / ("x" * 300)):
            code, said = demo(place)
            assert code == USAGE
            assert is_a_sentence_about(place, said)


def test_a_file_that_we_may_not_read_is_refused(demo, unreadable):
    code, said = demo(unreadable)
    assert code == USAGE
    assert is_a_sentence_about(unreadable, said)
