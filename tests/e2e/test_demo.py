"""The demo as a person runs it: each invoice is accounted for, the views are right, and only what it started ends."""

import json
import subprocess

import pytest

from infra.native import Native
from infra.plan import assemble
from tests.e2e.conftest import HEADRACE, PATIENCE

SALES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom
536365,71053,WHITE LANTERN,6,2010-12-01 08:26:00,3.39,17850,United Kingdom
536366,22633,HAND WARMER,6,2010-12-01 08:28:00,1.85,17850,United Kingdom
C536367,22633,HAND WARMER,-2,2010-12-01 09:00:00,1.85,17850,United Kingdom
536368,22633,HAND WARMER,many,2010-12-01 09:02:00,1.85,,France
"""


@pytest.fixture
def begun(floor):
    """A system of which somebody has started the database, and nothing else."""
    folder = floor.folder.with_name(f"{floor.folder.name}-demo") / ".headrace"
    folder.mkdir(parents=True)
    (folder / "cache").symlink_to(floor.cache)
    system = Native(folder, assemble(), floor.cache)
    try:
        system.up(only={"postgres"})
        yield system
    finally:
        system.down()


def demonstrated(system, sales):
    """What the demo tells, and what runs when it has ended."""
    call = [HEADRACE, "demo", "--input", sales, "--exit", "--json"]
    given = {"cwd": system.folder.parent, "stdin": subprocess.DEVNULL, "timeout": PATIENCE}
    done = subprocess.run(call, capture_output=True, text=True, check=False, **given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [name for name in system.components if system.state.running(name)]


def test_the_demo_accounts_for_each_invoice_and_ends_what_it_started(begun, tmp_path):
    sales = tmp_path / "sales.csv"
    sales.write_text(SALES)
    told, running = demonstrated(begun, sales)
    assert (told["invoices"], told["placed"], told["returned"], told["events"]) == (4, 2, 1, 3)
    assert (told["refused"], told["views_equal"], running) == (1, True, ["postgres"])
    # What has crashed since does not run any more, so it is started, too.
    begun.kill("postgres")
    told, running = demonstrated(begun, sales)
    assert (told["events"], told["views_equal"], running) == (3, True, [])
