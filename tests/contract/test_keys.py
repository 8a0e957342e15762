"""The keys of subjects: one suite for both stores of them."""

import base64
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from eventstore.errors import InvalidEvent, KeyMissing, SealBroken
from eventstore.migrate import Roles, connect
from eventstore.personal.keyring import Keyring
from eventstore.personal.keys import REMEMBERED_SECONDS, MemoryKeys, RememberedKeys
from eventstore.personal.migrate import migrate, rotate
from eventstore.personal.postgres import PostgresKeys
from eventstore.personal.sealing import NOBODY
from eventstore.personal.search import Sought, rows
from infra.errors import SettingsError
from infra.postgres import conninfo
from tests.conftest import DATABASE

SEARCHED = {"texts": 1, "places": []}


class Place:
    """The tables of keys, who may do what there, and the keyring."""

    def __init__(self, floor, folder):
        self.floor, self.schema, self.keyring = floor, f"keys_{uuid4().hex}", folder / "shop.keyring"

    def conninfo(self, principal):
        options = f"-c search_path={self.schema}"
        return make_conninfo(conninfo(self.floor.settings(principal), DATABASE.name), options=options)

    @property
    def owner(self):
        return self.conninfo("contract-migrate")

    @property
    def writer(self):
        return self.conninfo("contract-write")

    def migrate(self):
        with connect(self.owner, 30) as connection:
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self.schema)))
            migrate(connection, Roles("contract-write"), self.keyring)

    def rotate(self):
        with psycopg.connect(self.owner, autocommit=True) as connection:
            return rotate(connection, self.keyring)


@pytest.fixture
def place(floor, tmp_path):
    floor.create_database(DATABASE)
    made = Place(floor, tmp_path)
    made.migrate()
    made.migrate()
    return made


@pytest.fixture(params=["memory", "postgres"])
async def keys(request):
    if request.param == "memory":
        yield MemoryKeys()
    else:
        place = request.getfixturevalue("place")
        async with PostgresKeys.open(place.owner, place.keyring) as opened:
            yield opened


async def test_a_subject_has_one_key_and_another_subject_another(keys):
    first = await keys.current("ann")
    assert (await keys.current("ann")).secret == first.secret
    assert (await keys.current("bob")).secret != first.secret
    found = await keys.find([first.id])
    assert found[first.id].secret == first.secret


async def test_a_forgotten_key_is_given_to_nobody_and_its_tombstone_says_who_and_why(keys):
    ann, bob = await keys.current("ann"), await keys.current("bob")
    await keys.forget("ann", "olga", "she asked for it")
    found = await keys.find([ann.id, bob.id])
    assert (found[ann.id], found[bob.id].secret) == (None, bob.secret)
    (tomb,) = await keys.marked("ann")
    assert (tomb.key, tomb.forgotten_by, tomb.why, tomb.destroyed_at) == (ann.id, "olga", "she asked for it", None)
    assert await keys.marked("bob") == []
    (unlocked,) = await keys.unlocked("ann")
    assert unlocked.secret == ann.secret


async def test_a_destroyed_key_is_gone_and_stays_forgotten(keys):
    ann = await keys.current("ann")
    await keys.forget("ann", "olga", "first")
    await keys.destroy("ann", SEARCHED)
    await keys.forget("ann", "otto", "again")
    assert await keys.unlocked("ann") == []
    assert await keys.find([ann.id]) == {ann.id: None}
    (tomb,) = await keys.marked("ann")
    assert (tomb.forgotten_by, tomb.searched) == ("olga", SEARCHED)
    assert tomb.destroyed_at >= tomb.forgotten_at


async def test_whoever_comes_again_gets_a_new_key_and_the_old_one_stays_forgotten(keys):
    old = await keys.current("ann")
    await keys.forget("ann", "olga", "why")
    new = await keys.current("ann")
    assert new.id != old.id
    await keys.destroy("ann", SEARCHED)
    assert (await keys.find([new.id]))[new.id].secret == new.secret
    assert [tomb.key for tomb in await keys.marked("ann")] == [old.id]


async def test_a_key_that_is_missing_and_was_not_destroyed_is_loud(keys):
    known, lost = await keys.current("ann"), uuid4()
    with pytest.raises(KeyMissing, match=str(lost)):
        await keys.find([known.id, lost])


async def test_nobodys_key_opens_nothing_and_misses_nobody(keys):
    assert await keys.find([NOBODY]) == {NOBODY: None}


@pytest.mark.parametrize("subject", ["", "a\x00", "a" * 2000])
async def test_a_subject_has_a_name(keys, subject):
    with pytest.raises(InvalidEvent):
        await keys.current(subject)


async def test_a_key_is_remembered_for_a_moment_and_no_longer():
    now, keys = [0.0], MemoryKeys()
    remembered = RememberedKeys(keys, lambda: now[0])
    ann = await remembered.current("ann")
    await remembered.find([ann.id])
    await keys.forget("ann", "olga", "why")
    now[0] = REMEMBERED_SECONDS - 0.1
    assert (await remembered.find([ann.id]))[ann.id] is ann
    assert await remembered.current("ann") is ann
    now[0] = REMEMBERED_SECONDS
    assert await remembered.find([ann.id]) == {ann.id: None}
    assert (await remembered.current("ann")).id != ann.id


async def test_every_key_opens_after_a_rotation_and_the_old_wrapping_key_is_gone(place):
    before = Keyring(place.keyring).ids()
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        known = [await keys.current(f"subject {number}") for number in range(20)]
        new = place.rotate()
        assert Keyring(place.keyring).ids() == [new]
        assert new not in before
        found = await keys.find([key.id for key in known])
        assert [found[key.id].secret for key in known] == [key.secret for key in known]
        # It still holds the old wrapping key, is refused, and goes on with the new one.
        made = await keys.current("late")
    with psycopg.connect(place.owner) as connection:
        assert connection.execute("SELECT DISTINCT wrapped_by FROM data_keys").fetchall() == [(new,)]
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        assert (await keys.current("late")).secret == made.secret


async def test_a_rotation_that_was_broken_off_loses_nothing_and_is_made_good_by_the_next(place):
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        ann = await keys.current("ann")
        (old,) = Keyring(place.keyring).ids()
        left_over = Keyring(place.keyring).add()
        assert (await keys.current("bob")).id != ann.id
        with psycopg.connect(place.owner, autocommit=True) as connection:
            connection.execute("INSERT INTO wrapping_keys (id) VALUES (%s)", [left_over])
        assert (await keys.current("cleo")).id != ann.id
        new = place.rotate()
        assert {old, left_over, new} >= {*Keyring(place.keyring).ids()} == {new}
        assert (await keys.find([ann.id]))[ann.id].secret == ann.secret


async def test_a_keyring_that_is_lost_is_named_and_never_made_anew(place):
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        ann = await keys.current("ann")
    kept = place.keyring.read_bytes()
    place.keyring.unlink()
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        with pytest.raises(KeyMissing, match="lacks the key"):
            await keys.find([ann.id])
    with pytest.raises(KeyMissing, match="backup"):
        place.migrate()
    assert not place.keyring.exists()
    place.keyring.write_bytes(kept)
    place.keyring.chmod(0o644)
    with pytest.raises(SettingsError, match="read by others"):
        place.migrate()


async def test_a_wrapped_key_that_was_changed_or_given_to_another_subject_does_not_open(place):
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        ann, bob = await keys.current("ann"), await keys.current("bob")
        with psycopg.connect(place.owner, autocommit=True) as connection:
            connection.execute("UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE id = %s)", [ann.id])
        with pytest.raises(SealBroken):
            await keys.find([bob.id])
        assert (await keys.find([ann.id]))[ann.id].secret == ann.secret


async def test_the_database_has_no_key_in_the_clear_and_lets_the_writer_neither_forget_nor_destroy(place):
    async with PostgresKeys.open(place.writer, place.keyring) as keys:
        ann = await keys.current("ann")
        (wrapping,) = [base64.b64decode(line.split()[1]) for line in place.keyring.read_text().splitlines()]
    with psycopg.connect(place.owner) as connection:
        kept = str(connection.execute("SELECT d::text, w::text FROM data_keys d, wrapping_keys w").fetchall())
    assert ann.id.hex in kept.replace("-", "")
    assert ann.secret.hex() not in kept
    assert wrapping.hex() not in kept
    assert place.keyring.stat().st_mode & 0o077 == 0
    for forbidden in ("DELETE FROM data_keys", "UPDATE data_keys SET why = ''", "DELETE FROM wrapping_keys"):
        with psycopg.connect(place.writer) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(forbidden)


def test_what_is_compressed_on_the_disk_is_found_in_the_rows(place):
    text = "Ann Muster, 3 Weir Road"
    with psycopg.connect(place.owner, autocommit=True) as connection:
        connection.execute("CREATE TABLE told (data bytea, note text, whole jsonb)")
        packed = (text + " " * 100_000).encode()
        connection.execute("INSERT INTO told VALUES (%s, %s, jsonb_build_object('a', %s::text))", [packed, text, text])
        connection.execute("INSERT INTO told VALUES (NULL, 'nothing', NULL)")
    found = {looked.place.rpartition(".")[2]: looked for looked in rows(place.owner, Sought.of([text], []))}
    assert (found["told"].units, found["told"].finds) == (2, 3)
    assert found["data_keys"].finds == 0
