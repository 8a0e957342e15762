"""Forgetting goes on where it was broken off, and the search finds what is there."""

import json
import os
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from eventstore.errors import KeyMissing, SealBroken
from eventstore.memory import MemoryStore
from eventstore.personal import forget as forgetting
from eventstore.personal import search
from eventstore.personal.forget import forget, opened
from eventstore.personal.keys import MemoryKeys
from eventstore.personal.search import CHUNK, Looked, Sought
from eventstore.records import Any, Append, NewEvent

ANN = 'Ann "Muster", 3 Weir Road, Leät'
MOMENT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setattr(forgetting, "REMEMBERED_SECONDS", 0)
    return MemoryKeys()


@pytest.fixture
async def store(keys):
    """Two events about Ann, one about Bob, and one that only pretends to be about her."""
    store = MemoryStore()
    ann, bob = await keys.current("ann"), await keys.current("bob")
    stolen = ann.seal(ANN, "shop-1", 1, "name")
    told = [
        {"name": stolen},
        {"lines": [{"of": ann.seal("Ann", "shop-1", 2, "of")}]},
        {"name": bob.seal("Bob Muster", "shop-1", 3, "name")},
        {"name": stolen, "note": "sealed:v1: is no sealed text"},
    ]
    events = [NewEvent("shop.Told.v1", json.dumps(data).encode(), MOMENT) for data in told]
    await store.append(Append("shop-1", events, Any()))
    return store


class Search:
    """Looks at nothing, and remembers for what."""

    def __init__(self, finds=0):
        self.finds, self.sought = finds, []

    def __call__(self, sought):
        self.sought.append(sought)
        return [Looked("nowhere", 1, 1, self.finds, 2)]


async def forgotten(keys, store, look, subject="ann", also=()):
    return await forget(keys, store, subject, by="olga", why="asked", also=also, search=look)


async def test_what_was_sealed_is_looked_for_and_then_the_key_is_gone(keys, store):
    ann, look = await keys.current("ann"), Search()
    done = await forgotten(keys, store, look, also=["Ann Muster", "x"])
    assert set(look.sought[0].texts) == set(search.patterns([ANN, "Ann Muster"]))
    (tomb,) = done.tombstones
    assert (tomb.key, tomb.forgotten_by, tomb.searched["texts"], tomb.searched["short"]) == (ann.id, "olga", 2, 2)
    assert tomb.destroyed_at
    assert await keys.unlocked("ann") == []
    assert [text async for text in opened(store, {})] == []
    assert (await keys.find([ann.id])) == {ann.id: None}


async def test_texts_of_detached_events_are_not_looked_for_and_the_report_says_so(keys, store):
    look = Search()
    done = await forget(keys, store, "ann", by="olga", why="asked", search=look, after=1)
    assert (look.sought[0].texts, done.tombstones[0].searched["short"]) == ([], 1)
    assert "the texts of events up to 1 were not looked for" in done.text("headrace/shop", uuid4())


async def test_what_is_found_is_in_the_report(keys, store):
    done = await forgotten(keys, store, Search(finds=3))
    assert done.finds == 3
    text = done.text("headrace/shop", uuid4())
    assert "nowhere: 1, 1 bytes, 3 finds, 2 sealed, 0 not readable\n" in text
    assert "finds 3\n" in text
    assert "Weir" not in text


async def test_broken_off_before_the_key_is_gone_everything_is_looked_for_again(keys, store):
    def broken(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await forgotten(keys, store, broken)
    ann = await keys.current("bob")
    assert (await keys.find([ann.id]))[ann.id]
    assert [tomb.destroyed_at for tomb in await keys.marked("ann")] == [None]
    look = Search()
    done = await forgotten(keys, store, look)
    assert len(look.sought[0].texts) == len(search.patterns([ANN]))
    assert done.tombstones[0].destroyed_at


async def test_broken_off_afterwards_the_report_is_made_of_what_was_recorded(keys, store):
    first = await forgotten(keys, store, Search(finds=1))
    again = await forgotten(keys, store, Search(finds=7))
    assert (again.finds, again.tombstones) == (1, first.tombstones)


async def test_who_is_not_known_has_no_tombstone(keys, store):
    assert (await forgotten(keys, store, Search(), "cleo")).tombstones == []


async def test_others_are_untouched(keys, store):
    bob = await keys.current("bob")
    await forgotten(keys, store, Search())
    found = await keys.find([bob.id])
    assert [text async for text in opened(store, {bob.id: found[bob.id]})] == ["Bob Muster"]


async def test_a_text_that_does_not_open_stops_before_the_key_is_gone(keys, store):
    ann = await keys.current("ann")
    forged = json.dumps({"name": ann.seal(ANN, "shop-2", 1, "name").replace(":name:", ":nome:")}).encode()
    await store.append(Append("shop-2", [NewEvent("shop.Told.v1", forged, MOMENT)], Any()))
    with pytest.raises(SealBroken):
        await forgotten(keys, store, Search())
    assert [key.id for key in await keys.unlocked("ann")] == [ann.id]
    with pytest.raises(KeyMissing):
        await keys.find([uuid4()])


@pytest.mark.parametrize("place", [0, 5, CHUNK - 10, CHUNK - 1, CHUNK, 2 * CHUNK - len(ANN.encode()) + 1])
@pytest.mark.parametrize(
    "form", [lambda text: text, lambda text: text.hex().encode(), lambda _: json.dumps(ANN)[1:-1].encode()]
)
def test_a_text_is_found_once_wherever_it_lies(tmp_path, place, form):
    content = form(ANN.encode())
    (tmp_path / "inner").mkdir()
    with (tmp_path / "inner" / "file").open("wb") as file:
        file.write(b"\x01" * place + content + b"\x01" * CHUNK)
    found = search.files("files", tmp_path, Sought.of([ANN], []))
    assert (found.units, found.bytes, found.finds) == (1, place + len(content) + CHUNK, 1)


def test_holes_are_passed_over_and_what_lies_behind_them_is_found(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        os.truncate(file.fileno(), 2**32)
        os.pwrite(file.fileno(), ANN.encode(), 2**31)
        file.write(ANN.encode())
    found = search.files("files", tmp_path / "file", Sought.of([ANN], []))
    assert found.finds == 2
    assert found.bytes < 2**20


def test_a_sealed_text_is_counted_where_it_stands_and_files_that_are_links_are_not_followed(tmp_path):
    key = uuid4()
    (tmp_path / "file").write_text(f'"sealed:v1:{key.hex}:AAAA:1:name:shop-1"')
    (tmp_path / "link").symlink_to(tmp_path / "file")
    found = search.files("files", tmp_path, Sought.of([ANN], [key, uuid4()]))
    assert (found.units, found.finds, found.sealed) == (1, 0, 1)
