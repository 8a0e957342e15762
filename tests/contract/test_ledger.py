"""What a ledger promises, and what a sealer makes of one: entries, seals, checkpoints that agree."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.errors import EvidenceBroken, SealedElsewhere, WitnessUnavailable
from eventstore.evidence import merkle
from eventstore.evidence.chain import FIRST, entry, hash_of
from eventstore.evidence.checkpoint import Checkpoint, opened
from eventstore.evidence.ledger import MemoryLedger, Seal, around
from eventstore.evidence.postgres import PostgresLedger
from eventstore.evidence.proof import check, prove
from eventstore.evidence.sealer import Pace, Sealer
from eventstore.evidence.verify import verify
from eventstore.evidence.witness import FileWitness, MemoryWitness
from eventstore.lead import Alone
from eventstore.memory import MemoryStore
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, Metadata, NewEvent
from infra.notes import Keys, Signer

ORIGIN = "headrace/orders"
QUICK = Pace(gather_seconds=0.0, publish_seconds=0.01)
SIGNER = Signer("orders-write", Ed25519PrivateKey.generate())
KEYS = Keys([SIGNER.public])
MOMENT = datetime(2010, 12, 1, 8, 26, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "postgres"])
async def kept(request):
    """An empty store of each kind, and how its ledger is opened."""
    if request.param == "memory":
        store = MemoryStore()
        yield store, MemoryLedger(store).open
    else:
        conninfo = request.getfixturevalue("postgres")
        async with PostgresStore.open(conninfo) as store:
            yield store, lambda: PostgresLedger.open(conninfo)


class Told(MemoryWitness):
    """A witness that can be waited for, and that can be away."""

    def __init__(self, name="told"):
        super().__init__()
        self.name = name
        self.away = False
        self.arrived = asyncio.Condition()

    async def keep(self, note):
        if self.away:
            raise WitnessUnavailable("away")
        await super().keep(note)
        async with self.arrived:
            self.arrived.notify_all()

    async def covers(self, size):
        async with asyncio.timeout(20), self.arrived:
            await self.arrived.wait_for(lambda: self.kept and opened(self.kept[-1], KEYS).size >= size)


async def append(store, count, streams=7):
    for number in range(count):
        metadata = Metadata(actor="ann", request_id=str(number)) if number % 3 else Metadata()
        event = NewEvent("orders.Überfall.v1", b'{"n": %d}' % number, MOMENT, metadata)
        await store.append(Append(f"orders-é{number % streams}", [event] * 1, Any()))


@asynccontextmanager
async def sealing(kept, *witnesses, signer=SIGNER):
    store, ledgers = kept
    sealer = Sealer(ORIGIN, store, ledgers, witnesses=witnesses, signer=signer, lead=Alone(), pace=QUICK)
    task = asyncio.create_task(sealer.run())
    try:
        yield sealer
    finally:
        task.cancel()
        await asyncio.wait({task})


async def sealed(kept, *witnesses):
    store, _ = kept
    async with sealing(kept, *witnesses) as sealer:
        assert await sealer.watch.wait_beyond(await store.head() - 1, 20) == await store.head()


async def problem(sealer, expected):
    async with asyncio.timeout(20):
        while expected not in (sealer.problem() or ""):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_entries_are_the_documented_bytes_of_the_events(kept):
    store, ledgers = kept
    await append(store, 20)
    async with ledgers() as ledger:
        log = await store.read_log()
        assert list(await ledger.entries(0, 100)) == [entry(event) for event in log]
        assert list(await ledger.entries(5, 3)) == [entry(event) for event in log[5:8]]
        assert await ledger.head() == 20


async def test_each_hash_covers_the_event_and_the_one_before_it_in_its_stream(kept):
    store, ledgers = kept
    await append(store, 30)
    await sealed(kept)
    await append(store, 300)
    await sealed(kept)
    latest, expected = {}, []
    for event in await store.read_log():
        latest[event.stream] = hash_of(latest.get(event.stream, FIRST), entry(event))
        expected.append(latest[event.stream])
    async with ledgers() as ledger:
        assert list(await ledger.hashes(0, 0, 330)) == expected
        assert list(await ledger.hashes(0, 17, 301)) == expected[17:301]
        last = await ledger.last()
        seals = await ledger.seals(0, 1000)
        assert [seal.after for seal in seals] == [0, *(seal.size for seal in seals[:-1])]
        assert seals[-1] == last
        assert await ledger.seals(seals[0].size, 1) == [seals[1]]
        checkpoint = opened(last.note, KEYS, ORIGIN)
        assert (checkpoint.size, checkpoint.root) == (330, merkle.folded([*grown(expected).edge]))
        assert await ledger.nodes() == grown(expected).kept
        assert merkle.root_of(await around(ledger, 330, 100), 0, 100) == grown(expected[:100]).root()


def grown(hashes):
    tree = merkle.Tree()
    for each in hashes:
        tree.add(each)
    return tree


async def test_who_does_not_go_on_where_the_last_seal_ends_is_refused(kept):
    store, ledgers = kept
    await append(store, 3)
    async with ledgers() as ledger:
        await ledger.add(Seal(0, 2, bytes(64), "first"), {})
        with pytest.raises(SealedElsewhere):
            await ledger.add(Seal(0, 3, bytes(96), "second"), {(8, 0): bytes(32)})
        assert await ledger.seals(0, 10) == [Seal(0, 2, bytes(64), "first")]
        assert await ledger.nodes() == {}


async def test_what_was_sealed_and_witnessed_verifies(kept):
    store, ledgers = kept
    witness = Told()
    async with sealing(kept, witness) as sealer:
        for _ in range(4):
            await append(store, 70)
            await witness.covers(await store.head())
        assert sealer.problem() is None
    await append(store, 5)
    async with ledgers() as ledger:
        verdict = await verify(ledger, KEYS, ORIGIN, await witness.notes())
    assert verdict.fault is None
    assert (verdict.events, verdict.unsealed, verdict.witnessed) == (285, 5, 280)


async def test_the_log_is_sealed_while_a_witness_is_away_which_hears_of_it_later(kept):
    store, _ = kept
    witness, other = Told(), Told("other")
    witness.away = True
    async with sealing(kept, witness, other) as sealer:
        await append(store, 10)
        await other.covers(10)
        await problem(sealer, "away")
        witness.away = False
        await witness.covers(10)
        await append(store, 1)
        await witness.covers(11)
        assert sealer.problem() is None


async def test_nothing_is_signed_over_a_past_that_a_witness_contradicts(kept, tmp_path):
    store, _ = kept
    await append(store, 10)
    fork = MemoryStore()
    await append(fork, 10, streams=3)
    witness = FileWitness(tmp_path / "checkpoints")
    told = Told()
    async with sealing((fork, MemoryLedger(fork).open), told):
        await told.covers(10)
    await witness.keep(told.kept[-1])
    async with sealing(kept, witness) as sealer:
        await problem(sealer, "the tail was cut")
        assert sealer.size == 0
    await sealed(kept)
    await append(store, 10)
    async with sealing(kept, witness) as sealer:
        await problem(sealer, "the seals are not of these")
        assert sealer.size == 10
    assert await witness.notes() == [told.kept[-1]]


async def test_another_key_does_not_go_on_after_the_last_seal(kept):
    store, ledgers = kept
    await append(store, 3)
    await sealed(kept)
    await append(store, 3)
    async with sealing(kept, signer=Signer("orders-write", Ed25519PrivateKey.generate())) as sealer:
        await problem(sealer, "not ours")
    async with ledgers() as ledger:
        assert (await ledger.last()).size == 3


async def test_a_proof_from_a_checkpoint_shows_that_the_log_goes_on_from_there(kept):
    store, ledgers = kept
    await append(store, 10)
    await sealed(kept)
    async with ledgers() as ledger:
        old = (await ledger.last()).note
        await append(store, 10)
        await sealed(kept)
        proof = await prove(ledger, KEYS, ORIGIN, 3, old)
    assert proof["since"] == old
    assert check(proof, KEYS, ORIGIN).size == 20


@pytest.mark.parametrize(("size", "why"), [(10, "does not go on"), (11, "the tail was cut")])
async def test_nothing_is_proven_from_a_checkpoint_from_which_the_log_does_not_go_on(kept, size, why):
    store, ledgers = kept
    await append(store, 10)
    await sealed(kept)
    other = SIGNER.sign(Checkpoint(ORIGIN, size, bytes(32), MOMENT).text)
    async with ledgers() as ledger:
        with pytest.raises(EvidenceBroken, match=why):
            await prove(ledger, KEYS, ORIGIN, 3, other)


async def test_a_note_that_a_crash_cut_off_is_not_a_checkpoint(tmp_path):
    file = tmp_path / "checkpoints"
    notes = [SIGNER.sign(f"{ORIGIN}\n{size}\nroot\n") for size in (1, 2, 3)]
    for cut in range(len(notes[1].encode())):
        file.write_bytes(notes[0].encode() + notes[1].encode()[:cut])
        witness = FileWitness(file)
        assert (await witness.latest(), await witness.notes()) == (notes[0], notes[:1])
        await witness.keep(notes[2])
        assert await FileWitness(file).notes() == [notes[0], notes[2]]


async def test_a_note_that_a_full_disk_cut_off_is_not_the_beginning_of_the_next(tmp_path):
    """A full disk takes what still fits; the limit of a file's size does the same."""
    file = tmp_path / "checkpoints"
    notes = [SIGNER.sign(f"{ORIGIN}\n{size}\nroot\n") for size in (1, 2, 3)]
    witness = FileWitness(file)
    await witness.keep(notes[0])
    before = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (file.stat().st_size + 30, before[1]))
    try:
        with pytest.raises(WitnessUnavailable):
            await witness.keep(notes[1])
    finally:
        setrlimit(RLIMIT_FSIZE, before)
    await witness.keep(notes[2])
    assert await witness.notes() == [notes[0], notes[2]]


@pytest.mark.parametrize(
    "bent",
    [
        lambda note: note.replace("\n10\n", "\n11\n"),
        lambda note: note.replace("orders-write", "orders-wrote"),
        lambda note: note[:-3] + "\n",
        lambda note: note + "more\n",
        lambda note: note.partition("\n\n")[0],
        lambda note: "",  # noqa: ARG005
    ],
)
def test_a_bent_checkpoint_is_refused(bent):
    note = SIGNER.sign(f"{ORIGIN}\n10\n{'A' * 43}=\ntime 2026-11-25T08:00:00.000000+00:00\n")
    assert opened(note, KEYS, ORIGIN).size == 10
    with pytest.raises(EvidenceBroken):
        opened(bent(note), KEYS, ORIGIN)
    with pytest.raises(EvidenceBroken, match="not of headrace/other"):
        opened(note, KEYS, "headrace/other")
