"""A superuser changes the log, and its evidence with it, a thousand times: each time it is found, and named."""

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from eventstore.evidence.chain import chained
from eventstore.evidence.checkpoint import Checkpoint, opened
from eventstore.evidence.ledger import Seal
from eventstore.evidence.merkle import Tree
from eventstore.evidence.postgres import PostgresLedger
from eventstore.evidence.sealer import Pace, Sealer
from eventstore.evidence.verify import verify
from eventstore.evidence.witness import MemoryWitness
from eventstore.lead import Alone
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, NewEvent
from infra.notes import Keys, Signer
from infra.postgres import conninfo

ORIGIN = "headrace/crash"
EVENTS, STEP = 300, 30
TAMPERINGS = int(os.environ.get("HEADRACE_TAMPERINGS", "1000"))
SIGNER = Signer("crash-write", Ed25519PrivateKey.generate())
THIEF = Signer("crash-write", Ed25519PrivateKey.generate())
KEYS = Keys([SIGNER.public])
UNGUARDED = """
    ALTER TABLE events DETACH PARTITION events_1; DROP TABLE events; ALTER TABLE events_1 RENAME TO events;
    ALTER TABLE events DROP CONSTRAINT events_1_pkey, DROP CONSTRAINT events_1_stream_version,
                       DROP CONSTRAINT events_position_check;
    ALTER TABLE seals DROP CONSTRAINT seals_check, DROP CONSTRAINT seals_check1,
                      DROP CONSTRAINT seals_pkey, DROP CONSTRAINT seals_size;
    CREATE INDEX ON events (position); CREATE INDEX ON seals (size)
"""
ANOTHER = """
    INSERT INTO events
    SELECT %(at)s, version, time, recorded_at, gen_random_uuid(), stream, type, data, metadata
      FROM events WHERE position = %(of)s
"""
SHIFT = "UPDATE events SET position = position + %(by)s WHERE position > %(after)s"


async def append(store, chance):
    event = NewEvent("crash.X.v1", b'"%d"' % chance.randrange(10**9), datetime.now(UTC))
    await store.append(Append(f"crash-{chance.randrange(40)}", [event], Any()))


@asynccontextmanager
async def sealed_store(place):
    """Sealed and witnessed in many steps; then a superuser's connection to it, without anything that guards it."""
    chance, witness = Random(0), MemoryWitness()
    async with PostgresStore.open(place.writer) as store:
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
        while (head := await store.head()) < EVENTS:
            await asyncio.gather(*(append(store, chance) for _ in range(chance.choice((1, 10, STEP)))))
            head = await store.head()
            assert await sealer.watch.wait_beyond(head - 1, 20) >= head
            if chance.random() < 0.3 or head >= EVENTS:
                await witness.keep(sealer.last.note)
        task.cancel()
        await asyncio.wait({task})
    superuser = conninfo(place.floor.settings("postgres"), "crash_events")
    options = f"-c search_path={place.schema}"
    async with await AsyncConnection.connect(make_conninfo(superuser, options=options), autocommit=True) as admin:
        for statement in UNGUARDED.split(";"):
            await admin.execute(statement)
        yield SimpleNamespace(admin=admin, witness=witness, head=head, chance=chance)


# Each tampering answers with the positions of which one must be named, and the reasons that would be right.


async def edit(at, p):
    column, value = at.chance.choice(
        [
            ("version", "version + 1"),
            ("time", "time + interval '1 microsecond'"),
            ("recorded_at", "recorded_at - interval '1 microsecond'"),
            ("id", "gen_random_uuid()"),
            ("stream", "stream || 'x'"),
            ("type", "replace(type, 'X', 'Y')"),
            ("data", "data || ' '::bytea"),
            ("data", "set_byte(data, 1, (get_byte(data, 1) + 1) % 256)"),
            ("metadata", """'{"actor":"eve"}'"""),
        ]
    )
    await at.admin.execute(f"UPDATE events SET {column} = {value} WHERE position = {p}")  # noqa: S608
    return [p], {"edited"}


async def remove(at, p):
    await at.admin.execute("DELETE FROM events WHERE position = %s", [p])
    return [p], {"missing", "cut"}


async def remove_and_close_up(at, p):
    await remove(at, p)
    await at.admin.execute(SHIFT, {"by": -1, "after": p})
    return [p], {"missing", "cut"}


async def remove_many(at, p):
    await at.admin.execute("DELETE FROM events WHERE position BETWEEN %s AND %s", [p, p + at.chance.randrange(1, 20)])
    return [p], {"missing", "cut"}


async def insert(at, p):
    await at.admin.execute(SHIFT, {"by": 1, "after": p - 1})
    await at.admin.execute(ANOTHER, {"at": p, "of": p - 1 if p > 1 else p + 1})
    await at.admin.execute("UPDATE head SET position = position + 1")
    return [p], {"inserted"}


async def insert_beyond_the_head(at, _):
    await at.admin.execute(ANOTHER, {"at": at.head + 1, "of": at.chance.randrange(1, at.head)})
    return [at.head + 1], {"inserted"}


async def insert_before_the_first(at, p):
    await at.admin.execute(ANOTHER, {"at": -at.chance.randrange(3), "of": p})
    return range(-3, 1), {"inserted"}


async def double(at, p):
    await at.admin.execute(ANOTHER, {"at": p, "of": p})
    return [p, p + 1], {"doubled", "edited", "inserted", "reordered"}


async def swap(at, p):
    q = at.chance.choice([n for n in range(1, at.head + 1) if n != p])
    await at.admin.execute(
        "UPDATE events SET position = CASE position WHEN %(p)s THEN %(q)s ELSE %(p)s END"
        " WHERE position IN (%(p)s, %(q)s)",
        {"p": p, "q": q},
    )
    return [min(p, q)], {"reordered"}


async def reverse(at, p):
    end = min(at.head, p + at.chance.randrange(1, 12))
    p = min(p, end - 1)
    await at.admin.execute(
        "UPDATE events SET position = %(p)s + %(end)s - position WHERE position BETWEEN %(p)s AND %(end)s",
        {"p": p, "end": end},
    )
    return [p], {"reordered"}


async def cut_tail(at, p):
    await at.admin.execute("DELETE FROM events WHERE position >= %s", [p])
    return [p], {"cut"}


async def cut_tail_with_its_evidence(at, p):
    """Back to an earlier, properly sealed state; what is witnessed remembers."""
    [end], _ = await cut_evidence(at, p)
    end -= 1
    await at.admin.execute("DELETE FROM events WHERE position > %s", [end])
    await at.admin.execute("DELETE FROM seal_nodes WHERE (number + 1) << level > %s", [end])
    await at.admin.execute("UPDATE head SET position = %s", [end])
    return [end + 1], {"cut"}


async def cut_evidence(at, p):
    await at.admin.execute("DELETE FROM seals WHERE size >= %s", [p])
    (end,) = await (await at.admin.execute("SELECT coalesce(max(size), 0) FROM seals")).fetchone()
    return [end + 1], {"evidence"}


async def rewrite_and_hash_anew(at, p):
    """Everything in the database fits together afterwards, but for the signatures, which are kept."""
    await forge(at, p, lambda _, note: note)
    return spans(at, p), {"rewritten"}


async def rewrite_and_sign_with_another_key(at, p):
    await forge(at, p, lambda checkpoint, _: THIEF.sign(checkpoint.text))
    return spans(at, p), {"forged"}


async def rewrite_and_bend_the_notes(at, p):
    """The root is exchanged in the text, under the old signature."""
    await forge(at, p, lambda checkpoint, note: checkpoint.text + note[note.index("\n\n") + 1 :])
    return spans(at, p), {"forged"}


async def forge(at, p, signed):
    change = at.chance.choice([edit, swap, insert, remove_and_close_up])
    [first, *_], _ = await change(at, p)
    at.span = first
    ledger = PostgresLedger(at.admin)
    entries, tree, after = await ledger.entries(0, 10_000), Tree(), 0
    hashes = chained(entries, {})
    seals = await ledger.seals(0, 10_000)
    await at.admin.execute("DELETE FROM seals; ")
    await at.admin.execute("DELETE FROM seal_nodes")
    for seal in seals:
        end = len(entries) if seal is seals[-1] else min(seal.size, len(entries))
        if end > after:
            for each in hashes[after:end]:
                tree.add(each)
            checkpoint = Checkpoint(ORIGIN, end, tree.root(), datetime.now(UTC))
            note = seal.note if first > end else signed(checkpoint, seal.note)
            await ledger.add(Seal(after, end, b"".join(hashes[after:end]), note), {})
            after = end
    kept = list(tree.kept.items())
    await at.admin.cursor().executemany("INSERT INTO seal_nodes VALUES (%s, %s, %s)", [(*n, h) for n, h in kept])
    await at.admin.execute("UPDATE head SET position = %s", [len(entries)])


def spans(at, _):
    """The span that is named must begin at or before the change, and its seal hold it."""
    return [at.span]


async def bend_a_hash(at, p):
    await at.admin.execute(
        "UPDATE seals SET hashes = set_byte(hashes, %(n)s, (get_byte(hashes, %(n)s) + 1) %% 256)"
        " WHERE after < %(p)s AND size >= %(p)s",
        {"p": p, "n": 0},
    )
    (after,) = await (await at.admin.execute("SELECT max(after) FROM seals WHERE after < %s", [p])).fetchone()
    return [after + 1], {"evidence"}


async def bend_a_seal(at, p):
    change = at.chance.choice(
        [
            "after = after + 1",
            "size = size + 1000000",
            "note = replace(note, 'headrace/crash', 'headrace/smash')",
            "note = note || E'— eve AAAA\\n' || 'x'",
            "hashes = hashes || hashes",
            "hashes = ''",
            "note = overlay(note placing 'AAAA' from length(note) - 20)",
        ]
    )
    seals = await at.admin.execute("SELECT after, size FROM seals WHERE after < %(p)s AND size >= %(p)s", {"p": p})
    (after, size) = await seals.fetchone()
    await at.admin.execute(f"UPDATE seals SET {change} WHERE after = {after}")  # noqa: S608
    return range(after + 1, size + 1), {"evidence", "forged"}


async def remove_a_seal(at, p):
    rows = await at.admin.execute("DELETE FROM seals WHERE after < %(p)s AND size >= %(p)s RETURNING after", {"p": p})
    return [(await rows.fetchone())[0] + 1], {"evidence"}


async def bend_a_node(at, _):
    number = at.chance.randrange(at.head >> 8)
    await at.admin.execute(
        "UPDATE seal_nodes SET hash = set_byte(hash, 3, (get_byte(hash, 3) + 1) %% 256) WHERE number = %s", [number]
    )
    return [(number << 8) + 1], {"evidence"}


async def move_the_head(at, _):
    by = at.chance.choice((-3, 5))
    await at.admin.execute("UPDATE head SET position = position + %s", [by])
    return [at.head - 2, at.head + 1], {"inserted", "cut"}


KINDS = [
    edit,
    remove,
    remove_and_close_up,
    remove_many,
    insert,
    insert_beyond_the_head,
    insert_before_the_first,
    double,
    swap,
    reverse,
    cut_tail,
    cut_tail_with_its_evidence,
    cut_evidence,
    rewrite_and_hash_anew,
    rewrite_and_sign_with_another_key,
    rewrite_and_bend_the_notes,
    bend_a_hash,
    bend_a_seal,
    remove_a_seal,
    bend_a_node,
    move_the_head,
]


@pytest.mark.timeout(400)
async def test_a_thousand_tamperings_are_found_and_named(place, capsys):
    found, misnamed, reasons = Counter(), [], Counter()
    async with sealed_store(place) as at:
        ledger, notes = PostgresLedger(at.admin), await at.witness.notes()
        assert (await verify(ledger, KEYS, ORIGIN, notes)).fault is None
        for number in range(TAMPERINGS):
            if number % 50 == 49:
                await at.admin.execute("VACUUM events, seals, seal_nodes, head")
            at.chance = Random(number)
            kind = KINDS[number % len(KINDS)]
            async with at.admin.transaction(force_rollback=True):
                positions, right = await kind(at, at.chance.randrange(1, at.head + 1))
                fault = (await verify(ledger, KEYS, ORIGIN, notes)).fault
            if fault is None:
                misnamed.append((number, kind.__name__, positions, None))
                continue
            found[kind.__name__] += 1
            reasons[kind.__name__, fault.reason] += 1
            if fault.reason not in right or not any(fault.position <= p <= fault.until for p in positions):
                misnamed.append((number, kind.__name__, positions, fault))
        assert (await verify(ledger, KEYS, ORIGIN, notes)).fault is None
    with capsys.disabled():
        print(f"\n{found.total()} of {TAMPERINGS} tamperings found")  # noqa: T201
        for (kind, reason), count in sorted(reasons.items()):
            print(f"  {kind.replace('_', ' '):36} {reason:10} {count:4}")  # noqa: T201
    assert misnamed == [], misnamed[:20]
    assert found.total() == TAMPERINGS


async def test_what_no_witness_has_heard_of_can_be_cut_off_with_its_seals_but_not_be_changed(place):
    async with sealed_store(place) as at:
        ledger, early = PostgresLedger(at.admin), at.witness.kept[:2]
        witnessed = opened(early[-1], KEYS).size
        async with at.admin.transaction(force_rollback=True):
            await rewrite_and_hash_anew(at, witnessed + 50)
            assert (await verify(ledger, KEYS, ORIGIN, early)).fault.reason == "rewritten"
        async with at.admin.transaction(force_rollback=True):
            await cut_tail_with_its_evidence(at, witnessed + 50)
            verdict = await verify(ledger, KEYS, ORIGIN, early)
        assert verdict.fault is None
        assert witnessed <= verdict.events < at.head


async def test_a_witness_that_contradicts_itself_or_the_log_is_named(place):
    async with sealed_store(place) as at:
        ledger, notes = PostgresLedger(at.admin), await at.witness.notes()
        first, last = opened(notes[0], KEYS), opened(notes[-1], KEYS)
        other = SIGNER.sign(Checkpoint(ORIGIN, first.size, bytes(32), first.time).text)
        beyond = SIGNER.sign(Checkpoint(ORIGIN, last.size + 1, bytes(32), first.time).text)
        forged = THIEF.sign(first.text)
        for given, reason in [
            ([*notes, other], "forked"),
            ([other], "rewritten"),
            ([beyond], "cut"),
            ([forged], "forged"),
        ]:
            assert (await verify(ledger, KEYS, ORIGIN, given)).fault.reason == reason
