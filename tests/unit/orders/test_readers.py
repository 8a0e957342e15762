"""The readers on dirty input: nothing is lost, every bad line is named."""

import gzip
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from domains.orders.demo import cdnow, retail
from domains.orders.demo.errors import NoInput, NotAnInput

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
GOOD = "536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"


@pytest.fixture
def read(tmp_path):
    def read(content, packed=False):
        file = tmp_path / "sales.csv"
        content = content.encode() if isinstance(content, str) else content
        file.write_bytes(gzip.compress(content) if packed else content)
        return retail.read(file)

    return read


@pytest.mark.parametrize("packed", [False, True])
def test_the_lines_of_an_invoice_are_gathered_though_they_stand_apart_and_differ_by_a_minute(read, packed):
    other = GOOD.replace("536365", "C536366").replace(",6,", ",-6,")
    late = GOOD.replace("08:26", "08:27").replace("17850.0", "17850.0").replace("85123A", "71053")
    first, second = read(HEADER + GOOD + other + late, packed)
    assert (first.number, first.command, first.customer) == ("536365", "place", "17850")
    assert first.at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert [line.sku for line in first.lines] == ["85123A", "71053"]
    assert (second.number, second.command, second.lines[0].quantity) == ("C536366", "return", -6)
    assert b'"quantity":6' in second.body()


def test_what_is_no_sale_is_sent_all_the_same_so_that_the_domain_says_why(read):
    dirty = GOOD.replace(",6,", ",-6,") + GOOD.replace("536365", "A563185").replace("2.55", "-11062.06")
    negative, adjustment = read(HEADER + dirty)
    assert (negative.command, b'"quantity":-6' in negative.body()) == ("place", True)
    assert (adjustment.command, adjustment.lines[0].unit_price) == ("place", Decimal("-11062.06"))


def test_columns_may_stand_in_another_order_behind_a_byte_order_mark(read):
    turned = "\ufeffCountry," + HEADER.replace(",Country", "") + "France," + GOOD.replace(",United Kingdom", "")
    (invoice,) = read(turned)
    assert (invoice.country, invoice.lines[0].quantity) == ("France", 6)


def test_an_invoice_without_a_customer_has_none(read):
    (invoice,) = read(HEADER + GOOD.replace("17850.0", ""))
    assert invoice.customer is None
    assert b"customer" not in invoice.body()


BAD_LINES = {
    "a column too few": "536366,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0\n",
    "a column too many": GOOD.replace("536365", "536366").strip() + ",x\n",
    "no quantity": GOOD.replace("536365", "536366").replace(",6,", ",six,"),
    "no price": GOOD.replace("536365", "536366").replace("2.55", "free"),
    "no date": GOOD.replace("536365", "536366").replace("2010-12-01", "yesterday"),
    "no invoice": GOOD.replace("536365", ""),
    "cut in the middle": "536366,85123A,WHI",
    "an open quote": '536366,"85123A,WHITE,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n',
    "bytes that are no UTF-8": GOOD.replace("536365", "536366").encode().replace(b"WHITE", b"\xff\xfe"),
    "an endless line": "536366," + "x" * 1_000_000 + "\n",
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_cannot_be_read_is_named_and_stops_nothing(read, bad):
    bad = bad if isinstance(bad, bytes) else bad.encode()
    after = b"" if not bad.endswith(b"\n") else GOOD.replace("536365", "536367").encode()
    invoices = read((HEADER + GOOD).encode() + bad + after)
    faulty = [invoice for invoice in invoices if invoice.unreadable]
    assert len(faulty) == 1
    assert list(faulty[0].unreadable) == [3]
    assert [invoice.number for invoice in invoices if invoice not in faulty] == ["536365", "536367"][: 1 + bool(after)]


def test_one_bad_line_makes_its_whole_invoice_unreadable_and_no_other(read):
    bad = GOOD.replace(",6,", ",six,")
    (invoice,) = read(HEADER + GOOD + bad)
    assert (len(invoice.lines), len(invoice.unreadable)) == (1, 1)


def test_compressed_data_that_is_cut_is_noted_and_what_came_before_counts(tmp_path):
    file = tmp_path / "cut.csv.gz"
    lines = "".join(GOOD.replace("536365", str(number)) for number in range(600_000, 605_000))
    file.write_bytes(gzip.compress((HEADER + lines).encode())[:-2000])
    invoices = retail.read(file)
    assert any(not invoice.unreadable for invoice in invoices)
    assert invoices[-1].unreadable


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a,b,c\n1,2,3\n", b"\xff\xfe\x00", GOOD.encode(), b"\x1f\x8b not gzip"]
)
def test_a_file_that_is_no_input_is_said_in_a_sentence(read, content):
    with pytest.raises(NotAnInput):
        read(content)


def test_a_file_that_is_not_there_is_said_and_so_is_a_folder(tmp_path):
    with pytest.raises(NoInput):
        retail.read(tmp_path / "nothing.csv")
    with pytest.raises(NotAnInput):
        retail.read(tmp_path)


def test_a_purchase_of_cdnow_is_an_order_of_what_was_paid():
    first, second = cdnow.purchases(
        iter([["00004", "0001", "19970101", "2", "29.33"], [], ["4", "1", "19970118", "1", "9.9"]])
    )
    assert (first.number, first.customer, first.currency) == ("cdnow-000001", "0001", "USD")
    assert (first.lines[0].description, first.lines[0].unit_price) == ("2 CDs", Decimal("29.33"))
    assert second.number == "cdnow-000002"
