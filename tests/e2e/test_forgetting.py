"""A person is forgotten: what was said about him is nowhere, and everything else is as it was."""

import json
import signal
import subprocess
from time import monotonic

import psycopg
import pytest

from eventstore.personal.keyring import Keyring
from infra.native.postgres import SUPERUSER
from infra.notes import Keys
from infra.postgres import conninfo
from tests.e2e.conftest import HEADRACE

ANN, BOB = 'Ann "Muster", 3 Weir Road, Leät', "Bob Muster, 4 Weir Road"
LINE = {"sku": "85123A", "quantity": 6, "unit_price": "2.55"}
PATIENCE = 60
MARKED = "SELECT count(*) FROM data_keys WHERE subject = %s AND forgotten_at IS NOT NULL AND destroyed_at IS NULL"


def where(system, *texts):
    """The parts of the system's folder in whose files a text stands, as it is or within JSON, as `grep` finds it."""
    forms = {
        form for text in texts for form in (text, *(json.dumps(text, ensure_ascii=e)[1:-1] for e in (True, False)))
    }
    parts = {str(part.resolve()): part.name for part in system.folder.iterdir() if part.name != "cache"}
    call = ["grep", "-rslF", *(argument for form in forms for argument in ("-e", form)), *parts]
    found = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout.splitlines()
    return {name for file in found for path, name in parts.items() if f"{file}/".startswith(f"{path}/")}


@pytest.fixture
async def placed(client, number):
    """Two orders for Ann and one for Bob, seen by the views."""
    for order, customer, recipient in ((1, "a", ANN), (2, "a", "Ann"), (3, "b", BOB)):
        body = {"placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "lines": [LINE], "recipient": recipient}
        path = f"/v1/orders/{number}-{order}/place"
        answer = await client.post(path, data=json.dumps(body | {"customer": f"{number}{customer}"}))
        assert answer.status == 201
        seen = {"consistency-token": answer.headers["consistency-token"]}
        row = await client.get(f"/v1/orders/order-details/{number}-{order}", headers=seen)
        assert (await row.json())["recipient"] == recipient
    return number


async def recipients(client, number):
    """What the views and the streams say."""
    rows = [await (await client.get(f"/v1/orders/order-details/{number}-{order}")).json() for order in (1, 2, 3)]
    streams = [await (await client.get(f"/v1/orders/{number}-{order}/events")).json() for order in (1, 2, 3)]
    return [row["recipient"] for row in rows], [stream["events"][0]["data"]["recipient"] for stream in streams]


def killed_half_way(system, subject):
    """Begins to forget, and is killed when the key is marked, but not destroyed."""
    call = [HEADRACE, "store", "forget", f"orders/{subject}", "--why", "broken off"]
    with psycopg.connect(conninfo(system.settings(SUPERUSER), "orders_keys"), autocommit=True) as connection:
        begun = subprocess.Popen(call, cwd=system.folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = monotonic() + PATIENCE
        while connection.execute(MARKED, [subject]).fetchone() != (1,):
            assert monotonic() < deadline
            assert begun.poll() is None
        begun.send_signal(signal.SIGKILL)
        assert begun.wait(PATIENCE) == -signal.SIGKILL
        assert connection.execute(MARKED, [subject]).fetchone() == (1,)


async def test_who_was_never_known_is_not_found(system):
    done = system.headrace("store", "forget", "orders/nobody-at-all", "--why", "asked")
    assert (done.returncode, done.stdout) == (3, "")


# It starts six commands, and a busy machine takes its time for each.
@pytest.mark.timeout(300)
async def test_a_person_is_forgotten_everywhere_and_nobody_else_is(system, client, placed, summary):
    # The search finds what is there: it looks in the right places.
    assert {"postgres", "kafka", "logs"} <= where(system, f"{placed}-1")
    assert where(system, ANN, BOB) == set()
    ring = Keyring(system.folder / "keys" / "orders.keyring")
    before = ring.ids()

    killed_half_way(system, f"{placed}a")
    done = system.headrace("store", "forget", f"orders/{placed}a", "--why", "asked by letter", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (tomb,) = told["keys"]
    assert (told["finds"], tomb["why"], tomb["searched"]["texts"], tomb["searched"]["short"]) == (0, "broken off", 1, 1)

    public = (system.credentials / "orders-keeper" / "signing.pub").read_text()
    assert f"subject {placed}a\n" in Keys([public]).opened(told["note"])
    assert told["note"] in (system.folder / "evidence" / "orders.forgotten").read_text()
    sealed = {place["place"]: place["sealed"] for place in tomb["searched"]["places"]}
    tables = ("orders_events.public.events", "orders_read.public.order_details_v2")
    for place in ("files of postgres", "files of kafka"):
        assert sealed[place] >= 2
    assert all(any(sealed[name] for name in sealed if table in name) for table in tables)
    assert not set(before) & set(ring.ids())

    assert where(system, ANN, BOB) == set()
    assert await recipients(client, placed) == (["forgotten", "forgotten", BOB], ["forgotten", "forgotten", BOB])
    shown = system.headrace("replay", f"orders-{placed}-1", "--state", "--json")
    assert json.loads(shown.stdout)["recipient"] == "forgotten"
    for check in ("store verify --store orders", "projection verify orders/order-details"):
        assert system.headrace(*check.split()).returncode == 0
    summary.append(f"forgotten: {told['note'].count(' finds, ')} places searched, {told['finds']} finds")
