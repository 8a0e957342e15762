"""The log lies in ranges: it extends itself, and old ranges go into files and come back, as they were sealed."""

import asyncio
import gzip
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from eventstore import sql
from eventstore.errors import EventsDetached, EvidenceBroken, RangeRefused, WrongExpectedVersion
from eventstore.evidence.postgres import PostgresLedger
from eventstore.evidence.sealer import Pace, Sealer
from eventstore.evidence.verify import verify
from eventstore.lead import Alone
from eventstore.migrate import Roles, connect, migrate
from eventstore.postgres import PostgresStore
from eventstore.ranges.moving import Mover, WholeLedger, ranges
from eventstore.records import Any, Append, Exactly, NewEvent, Selection
from eventstore.relay import Relay
from eventstore.topic import MemoryTopic
from infra.notes import Keys, Signer

SIZE, STREAMS = 100, 7
ORIGIN = "headrace/crash"
SIGNER = Signer("crash-write", Ed25519PrivateKey.generate())


@pytest.fixture
def small(bare):
    """An empty store whose ranges are small."""
    given = conninfo_to_dict(bare.owner)["options"]
    with connect(make_conninfo(bare.owner, options=f"{given} -c headrace.range_size={SIZE}"), 30) as connection:
        migrate(connection, Roles("crash-write", ["crash-read"]))
    return bare


async def filled(store, events, streams=STREAMS):
    moment = datetime.now(UTC)
    head = await store.head()
    for first in range(head, head + events, 10):
        appends = [
            Append(f"crash-{n % streams}", [NewEvent("crash.X.v1", b'{"n":%d}' % n, moment)], Any())
            for n in range(first, min(first + 10, head + events))
        ]
        await asyncio.gather(*map(store.append, appends))


@asynccontextmanager
async def sealing(place, store):
    sealer = Sealer(
        ORIGIN,
        store,
        lambda: PostgresLedger.open(place.writer),
        witnesses=[],
        signer=SIGNER,
        lead=Alone(),
        pace=Pace(gather_seconds=0),
    )
    task = asyncio.create_task(sealer.run())
    yield sealer
    task.cancel()
    await asyncio.wait({task})


async def sealed(place, store):
    async with sealing(place, store) as sealer:
        head = await store.head()
        assert await sealer.watch.wait_beyond(head - 1, 20) >= head


@asynccontextmanager
async def relaying(store, topic):
    relay = Relay(store, topic, Alone(), "/crash")
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # the relay tells nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def moving(place):
    async with (
        await AsyncConnection.connect(place.owner, autocommit=True) as owner,
        PostgresLedger.open(place.reader) as ledger,
    ):
        yield Mover(owner, ledger, lambda *_: None)


async def verdict(place, folder=None):
    async with WholeLedger.open(place.reader) as ledger:
        await ledger.look(folder)
        return await verify(ledger, Keys([SIGNER.public]), ORIGIN, [])


async def there(place):
    async with await AsyncConnection.connect(place.reader) as connection:
        return await ranges(connection)


async def read_whole(store):
    log, after = [], 0
    while page := await store.read_log(after=after, limit=33):
        log += page
        after = page[-1].position
    return log


async def test_the_log_extends_itself_and_is_read_as_one(small):
    async with PostgresStore.open(small.writer) as store:
        await filled(store, 3 * SIZE + 20)
        log = await read_whole(store)
        assert [event.position for event in log] == list(range(1, 3 * SIZE + 21))
        stream = await store.read_stream("crash-3")
        assert [event.version for event in stream] == list(range(1, len(stream) + 1))
        assert stream == [event for event in log if event.stream == "crash-3"]
        assert (await store.read_stream("crash-3", backward=True, limit=3)) == stream[:-4:-1]
    found = await there(small)
    assert [one.first for one in found] == [1 + SIZE * n for n in range(len(found))]
    assert found[-1].last >= 4 * SIZE, "there is room before it is needed"


async def test_who_appends_can_neither_make_nor_remove_a_range(small):
    async with await AsyncConnection.connect(small.writer, autocommit=True) as writer:
        for statement in (
            "SELECT extend_log(current_schema(), 1000)",
            "SELECT make_range(current_schema(), 1000)",
            "ALTER TABLE events DETACH PARTITION events_1",
            "DROP TABLE events_1",
            "DELETE FROM events_1",
            "UPDATE ranges SET file = 'x', digest = 'x'",
        ):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                await writer.execute(statement)


async def test_a_log_that_was_one_table_becomes_the_first_range(bare, monkeypatch):
    steps = sql.migrations()
    before = next(number for number, name, _ in steps if name.endswith("_ranges")) - 1
    with connect(bare.owner, 30) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(sql, "migrations", lambda: steps[:before])
            patched.setattr("eventstore.migrate.grant", lambda *_: None)
            migrate(connection, None)
        insert = """
            INSERT INTO events SELECT n, n, now(), now(), gen_random_uuid(), 'crash-1', 'crash.X.v1', '{}', '{}'
              FROM generate_series(1, 250) n;
            INSERT INTO streams VALUES ('crash-1', 250, 250);
            UPDATE head SET position = 250, recorded_at = now()
        """
        connection.execute(insert)
        connection.commit()
    given = conninfo_to_dict(bare.owner)["options"]
    with connect(make_conninfo(bare.owner, options=f"{given} -c headrace.range_size={SIZE}"), 30) as connection:
        migrate(connection, Roles("crash-write", ["crash-read"]))
    async with PostgresStore.open(bare.writer) as store:
        await filled(store, SIZE)
        assert [event.position for event in await read_whole(store)] == list(range(1, 351))
        assert (await store.read_stream("crash-1", after=248))[1].position == 250
    assert [(one.first, one.last) for one in await there(bare)][:2] == [(1, 300), (301, 400)]


async def test_ranges_go_into_files_and_come_back(small, tmp_path):
    async with PostgresStore.open(small.writer) as store:
        await filled(store, 3 * SIZE + 20)
        await sealed(small, store)
        log = await read_whole(store)
        async with moving(small) as mover:
            gone = await mover.detach(tmp_path, "crash", 2 * SIZE + 1)
        assert [(one.first, one.last) for one in gone] == [(1, SIZE), (SIZE + 1, 2 * SIZE)]
        assert sorted(file.name for file in tmp_path.iterdir()) == ["crash-1-100.copy.gz", "crash-101-200.copy.gz"]

        last = {event.stream: event.version for event in log if event.position <= 2 * SIZE}
        for asked in (
            store.read_log(after=0),
            store.read_log(after=2 * SIZE - 1),
            store.read_bare(after=2 * SIZE - 1),
            store.read_log(after=0, only=Selection(category="crash")),
            store.read_log(after=0, only=Selection(tags=("a",))),
            store.read_log(after=0, only=Selection(correlation_id="a")),
            store.read_stream("crash-3"),
            store.read_stream("crash-3", backward=True, limit=1),
            store.read_from_snapshot("crash-3", "none"),
        ):
            with pytest.raises(EventsDetached, match="up to position"):
                await asked
        assert await store.read_log(after=2 * SIZE) == log[2 * SIZE :]
        assert await store.read_stream("crash-3", after=last["crash-3"]) == [
            event for event in log[2 * SIZE :] if event.stream == "crash-3"
        ]

        event = NewEvent("crash.X.v1", b"{}", datetime.now(UTC))
        whole = max(event.version for event in log if event.stream == "crash-3")
        with pytest.raises(WrongExpectedVersion):
            await store.append(Append("crash-3", [event], Exactly(whole - 1)))
        await store.append(Append("crash-3", [event], Exactly(whole)))
        await sealed(small, store)
        found = await verdict(small)
        assert (found.fault, found.events) == (None, 3 * SIZE + 21)

        async with moving(small) as mover:
            assert (await mover.attach()).first == SIZE + 1
            assert (await mover.attach()).first == 1
            with pytest.raises(RangeRefused, match="no range is detached"):
                await mover.attach()
        assert (await read_whole(store))[: len(log)] == log
        assert (await verdict(small)).fault is None


async def test_only_what_is_full_and_sealed_is_detached(small, tmp_path):
    async with PostgresStore.open(small.writer) as store, moving(small) as mover:
        await filled(store, SIZE + 20)
        with pytest.raises(RangeRefused, match="no range that is full and sealed"):
            await mover.detach(tmp_path, "crash", 10 * SIZE)
        await sealed(small, store)
        # What an interrupted attempt has left behind is written over.
        (tmp_path / "crash-1-100.copy.gz").write_bytes(b"half")
        assert [one.first for one in await mover.detach(tmp_path, "crash", 10 * SIZE)] == [1]


async def test_what_is_not_as_it_was_sealed_neither_goes_nor_comes(small, tmp_path):
    async with PostgresStore.open(small.writer) as store, moving(small) as mover:
        await filled(store, 2 * SIZE + 20)
        await sealed(small, store)
        async with await AsyncConnection.connect(small.owner, autocommit=True) as owner:
            await owner.execute("UPDATE events SET data = '{}' WHERE position = 42")
            with pytest.raises(EvidenceBroken, match=r"from 1 to 100 are not what was sealed"):
                await mover.detach(tmp_path, "crash", 2 * SIZE + 1)
            assert all(one.file is None for one in await there(small))
            await owner.execute("""UPDATE events SET data = '{"n":41}' WHERE position = 42""")
            [first, second] = await mover.detach(tmp_path, "crash", 2 * SIZE + 1)

            moved = tmp_path / "elsewhere"
            moved.mkdir()
            for one in (first, second):
                one.found().path.rename(moved / one.found().path.name)
            with pytest.raises(RangeRefused, match="No such file"):
                await verdict(small)
            assert (await verdict(small, moved)).fault is None

            # A thief who changes the file, and what the database says of it.
            file = second.found(moved)
            changed = re.sub(rb'"n":142', b'"n":999', gzip.decompress(file.path.read_bytes()))
            file.path.write_bytes(gzip.compress(changed))
            with pytest.raises(RangeRefused, match="is not the file"):
                await mover.attach(moved)
            await owner.execute("UPDATE ranges SET digest = %s WHERE first = %s", [file.digest(), second.first])
            with pytest.raises(EvidenceBroken, match=r"from 101 to 200 are not what was sealed"):
                await mover.attach(moved)
            fault = (await verdict(small, moved)).fault
            assert fault is not None
            assert fault.position == 143


async def test_a_relay_begins_where_the_topic_has_all_that_was_detached(small, tmp_path):
    topic, lacking = MemoryTopic(16), MemoryTopic(16)
    async with PostgresStore.open(small.writer) as store, moving(small) as mover:
        await filled(store, SIZE)
        await filled(store, SIZE + 20, streams=1)
        async with relaying(store, topic) as relay:
            await until(lambda: relay.position == 2 * SIZE + 20)
        lacking.records = [[*records] for records in topic.records]
        lost = next(records for records in lacking.records if b"crash-3" in {record.key for record in records})
        del lost[-1]
        await sealed(small, store)
        await mover.detach(tmp_path, "crash", 2 * SIZE + 1)

        event = NewEvent("crash.X.v1", b"{}", datetime.now(UTC))
        async with relaying(store, topic) as relay:
            await until(lambda: relay.leading)
            await store.append(Append("crash-3", [event], Any()))
            await until(lambda: relay.position == 2 * SIZE + 21)
        assert sum(map(len, topic.records)) == 2 * SIZE + 21, "each event once"

        async with relaying(store, lacking) as relay:
            await until(lambda: "are detached" in (relay.problem() or ""))
        assert sum(map(len, lacking.records)) == 2 * SIZE + 19, "what comes later does not overtake what is missing"
