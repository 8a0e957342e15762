"""`headrace store`, on a real store."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from psycopg import connect
from typer.testing import CliRunner

from eventstore import console
from eventstore.cloudevents import decode
from eventstore.commands import app
from eventstore.migrate import inputs
from eventstore.postgres import PostgresStore
from eventstore.records import Append, Exactly, NewEvent, NoStream
from infra.native import Native
from infra.plan import OPERATOR, Database, Job, Plan

DATABASE = Database("shop_events", "shop-migrate", ("shop-write", OPERATOR))
MIGRATE = Job(
    "shop-events-migrate", "eventstore", ("migrate", DATABASE.name, "shop-write", OPERATOR), DATABASE.owner, inputs()
)
MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(floor):
    """An empty database of a store that is in the plan."""
    system = Native(floor.folder, Plan(databases=(DATABASE,), jobs=(MIGRATE,)), cache=floor.cache)
    system.create_database(DATABASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "here", lambda: system)
        yield console.place("shop")
    system.drop_database(DATABASE)


def headrace(*arguments, code=0, said="stdout"):
    done = CliRunner().invoke(app, ["store", *arguments])
    assert done.exit_code == code, done.output
    return getattr(done, said)


@pytest.fixture(scope="module")
def filled(shop):
    """Three events in two streams, made by the writer; the tests only look."""
    headrace("migrate")

    async def append():
        async with PostgresStore.open(shop.conninfo("shop-write")) as store:
            new = [NewEvent(f"shop.Happened.v{n}", b'{"n":%d}' % n, MOMENT) for n in (1, 2, 3)]
            await store.append(Append("carts-1", new[:1], NoStream()))
            await store.append(Append("orders-1", new[1:2], NoStream()))
            await store.append(Append("carts-1", new[2:], Exactly(1)))

    asyncio.run(append())
    return shop


@pytest.fixture(scope="module")
def exported(filled):
    """What the store had, and its export, a line each."""
    return log(filled), headrace("export").encode().splitlines(keepends=True)


@pytest.fixture(scope="module")
def emptied(exported, shop):  # noqa: ARG001  # it was exported before
    """The same store, empty."""
    shop.system.drop_database(DATABASE)
    shop.system.create_database(DATABASE)
    headrace("migrate")
    return shop


def log(where):
    async def read():
        async with PostgresStore.open(where.conninfo()) as store:
            return list(await store.read_log())

    return asyncio.run(read())


def sequences(said):
    return [int(json.loads(line)["sequence"]) for line in said.splitlines()]


def test_check_says_what_is_missing_until_it_was_migrated(shop):
    assert "0001_log is not applied" in headrace("migrate", "--check", code=1)
    assert "0002_append_batch" in headrace("migrate")
    assert "nothing is missing" in headrace("migrate", "--check")
    with connect(shop.conninfo(shop.owner)) as connection:
        connection.execute('REVOKE SELECT ON events FROM "operator"')
    assert "operator lacks events SELECT" in headrace("migrate", "--check", code=1)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), [1, 2, 3]),
        (("--after", "1"), [2, 3]),
        (("--limit", "2"), [1, 2]),
        (("carts-1",), [1, 3]),
        (("carts-1", "--after", "1"), [3]),
        (("carts-1", "--backward"), [3, 1]),
        (("carts-1", "--backward", "--limit", "1"), [3]),
        (("carts-1", "--to-version", "1"), [1]),
        (("carts-1", "--to-time", "2100-01-01T00:00:00"), [1, 3]),
        (("--category", "orders"), [2]),
        (("--type", "shop.Happened.v1", "--type", "shop.Happened.v3"), [1, 3]),
    ],
)
def test_read_shows_what_was_asked_for(arguments, found):
    assert sequences(headrace("read", "--json", *arguments)) == found


@pytest.mark.usefixtures("filled")
def test_read_finds_nothing_and_says_so_by_its_code():
    assert not headrace("read", "carts-2", code=3)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("mixed", [("--backward",), ("carts-1", "--category", "carts"), ("--to-version", "1")])
def test_what_belongs_to_a_stream_is_not_asked_of_the_log(mixed):
    assert not headrace("read", *mixed, code=2)


@pytest.mark.usefixtures("filled")
def test_tail_shows_the_last():
    assert sequences(headrace("tail", "--limit", "2", "--json")) == [2, 3]


def test_an_export_holds_every_event_as_it_was_recorded(filled):
    lines = headrace("export").encode().splitlines()
    again = [decode(json.loads(line)["subject"].encode(), line, []) for line in lines]
    assert again == log(filled)


@pytest.mark.usefixtures("filled")
def test_stats_count_events_and_the_bytes_of_tables_and_indexes():
    found = json.loads(headrace("stats", "--json"))
    events = next(table for table in found["tables"] if table["table"] == "events_1")
    indexes = [f"events_1_{name}" for name in ("correlation", "pkey", "stream_version", "tags")]
    assert (found["events"], sorted(events["indexes"])) == (3, indexes)
    assert found["bytes"] == sum(t["bytes"] + sum(t["indexes"].values()) for t in found["tables"]) > 0


@pytest.mark.usefixtures("filled")
def test_ranges_are_shown_and_what_can_not_be_moved_is_refused(tmp_path):
    assert json.loads(headrace("ranges", "--json")) == {"ranges": [{"first": 1, "last": 5_000_000, "file": None}]}
    assert "no range that is full" in headrace("detach", "--before", "9", "--to", str(tmp_path), code=1, said="stderr")
    assert "no range is detached" in headrace("attach", code=1, said="stderr")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shop")
def test_a_store_that_is_not_there_is_named():
    assert not headrace("stats", "--store", "shoes", code=3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-9]], "line 3 is cut off"),
        (lambda lines: [lines[0], lines[2]], "line 2 has position 3"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 2 has position 1"),
        (lambda lines: [lines[0], b"nothing\n"], "line 2: it is not JSON"),
        (lambda lines: [lines[0], b"\n"], "line 2: it is not JSON"),
        (
            lambda lines: [lines[0].replace(b'"streamversion":1', b'"streamversion":2')],
            "line 1 has version 2 of carts-1",
        ),
        (lambda lines: [lines[0].replace(b"carts-1", b"carts")], "line 1: 'carts' is no stream name"),
        (
            lambda lines: [lines[0], lines[1].replace(b'"recordedtime":"20', b'"recordedtime":"19')],
            "was recorded before",
        ),
        (lambda lines: [b"\xff\xfe" + lines[0]], "line 1: it is not JSON"),
    ],
)
def test_what_is_no_whole_log_is_refused_and_nothing_is_kept(exported, emptied, tmp_path, change, reason):
    _, lines = exported
    (tmp_path / "log").write_bytes(b"".join(change(lines)))
    assert reason in headrace("import", str(tmp_path / "log"), code=1, said="stderr")
    assert log(emptied) == []


def test_an_export_is_imported_into_an_empty_store_with_its_positions_and_goes_on_there(exported, emptied, tmp_path):
    before, lines = exported
    (tmp_path / "log").write_bytes(b"".join(lines))
    assert "3 events" in headrace("import", str(tmp_path / "log"))
    assert log(emptied) == before
    assert headrace("export").encode() == b"".join(lines)

    async def go_on():
        async with PostgresStore.open(emptied.conninfo("shop-write")) as store:
            return await store.append(Append("carts-1", [NewEvent("shop.Happened.v1", b"4", MOMENT)], Exactly(2)))

    assert asyncio.run(go_on()).position == 4
    assert "the store has 4 events already" in headrace("import", str(tmp_path / "log"), code=1, said="stderr")
