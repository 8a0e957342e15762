"""No view acts on the world while events are folded anew: neither by a library in C, nor by another thread."""

import _thread
import asyncio
import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import confluent_kafka
import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from domains.kernel import Upcaster
from domains.orders import domain
from projections.errors import EffectRefused, RebuildRefused
from projections.refolding import effects
from projections.refolding.changed import check
from projections.refolding.effects import Guard, Reached, refused
from projections.refolding.estimate import estimate
from projections.refolding.rebuild import rebuild
from projections.refolding.refold import Refold, fold
from projections.refolding.replay import Which, replay

DETAILS = domain.views[0]
NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


@pytest.fixture
def notes(read_database):
    """A connection from before a replay, and how many notes the server has."""
    owner, _ = read_database
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE TABLE notes (note text)")
        yield connection


def count(connection):
    return connection.execute("SELECT count(*) FROM notes").fetchone()[0]


# What is in it nobody can see before a fold asks for it.
ACT = ContextVar("act")
NOTE = "INSERT INTO notes VALUES ('x')"


def write(connection):
    connection.execute(NOTE)


def write_many(connection):
    connection.cursor().executemany("INSERT INTO notes VALUES (%s)", [("x",), ("y",)])


def copy(connection):
    with connection.cursor().copy("COPY notes FROM STDIN") as rows:
        rows.write_row(("x",))


def connect(connection):
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as another:
        another.execute(NOTE)


def start(connection):
    threading.Thread(target=write, args=(connection,)).start()


def start_lower(connection):
    _thread.start_new_thread(write, (connection,))


@pytest.mark.parametrize("act", [write, write_many, copy, connect, start, start_lower], ids=lambda act: act.__name__)
async def test_a_fold_reaches_no_server_and_its_event_is_named(system, notes, act):
    ACT.set(partial(act, notes))

    def project(row, event):
        if event.order == "30":
            ACT.get()()
        return DETAILS.project(row, event)

    anew = Refold(domain, replace(DETAILS, project=project), system.store, dict.fromkeys(range(domain.partitions), 200))
    with pytest.raises(EffectRefused, match=r"order-details fails on event 1 of stream 'orders-30'"):
        await anew.rows(lambda _: True)
    assert count(notes) == 0
    write(notes)
    assert count(notes) == 1


def test_threads_that_are_there_do_nothing_for_a_fold_and_other_threads_go_on(notes):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with refused(), pytest.raises(Reached, match=r"ThreadPoolExecutor\.submit"):
            pool.submit(write, notes)
        assert pool.submit(count, notes).result() == 0


@pytest.mark.parametrize(
    "act", [partial(os.kill, os.getpid(), 0), partial(os.putenv, "X", "y"), partial(ctypes.CDLL, None)]
)
def test_signals_environment_and_foreign_functions_are_refused(act):
    with refused(), pytest.raises(Reached):
        act()


def publishing(row, event):
    Producer(NOWHERE).produce("topic", b"x")
    return DETAILS.project(row, event)


def importing(row, event):
    from confluent_kafka import Producer as Kafka  # noqa: PLC0415

    Kafka(NOWHERE)
    return DETAILS.project(row, event)


def by_module(row, event):
    confluent_kafka.Consumer({**NOWHERE, "group.id": "x"})
    return DETAILS.project(row, event)


class Holding:
    def __init__(self, held):
        self.held = held

    def project(self, row, event):
        self.held.produce("topic", b"x")
        return DETAILS.project(row, event)


def closing_over(held):
    def project(row, event):
        held("topic", b"x")
        return DETAILS.project(row, event)

    return project


ELSEWHERE = {"__name__": "infra.elsewhere", "HELD": SimpleNamespace(kafka=Producer(NOWHERE))}
exec("def tell(): HELD.kafka.produce('topic', b'x')", ELSEWHERE)  # noqa: S102
tell = ELSEWHERE["tell"]


def helped(row, event):
    tell()
    return DETAILS.project(row, event)


def scheduling(row, event):
    asyncio.get_running_loop().call_soon(print)
    return DETAILS.project(row, event)


VIEWS = {
    "helped.tell.HELD.kafka": helped,
    "scheduling.asyncio": scheduling,
    "publishing.Producer": publishing,
    "importing.confluent_kafka.Producer": importing,
    "by_module.confluent_kafka": by_module,
    "project.self.held": Holding(Producer(NOWHERE)).project,
    "held.self": closing_over(Producer(NOWHERE).produce),
    "held": closing_over(AdminClient(NOWHERE)),
}


@pytest.mark.parametrize("way", VIEWS)
async def test_a_view_that_reaches_kafka_is_not_even_begun_with(system, way):
    view = replace(DETAILS, project=VIEWS[way])
    declared = replace(domain, views=(view, *domain.views[1:]))
    async with system.standing(declared) as standing:
        with pytest.raises(RebuildRefused, match=f"order-details reaches .*{way}, which is of [ac]"):
            await rebuild(standing, view, system.store)
        with pytest.raises(RebuildRefused, match="order-details reaches"):
            await replay(standing, view, system.store, Which(stream="orders-1"))
        assert (await rebuild(standing, DETAILS, system.store)).rows == 200


async def test_every_fold_anew_looks_first(system):
    view = replace(DETAILS, project=publishing)
    declared = replace(domain, views=(view, *domain.views[1:]))
    with pytest.raises(RebuildRefused, match=r"publishing\.Producer"):
        fold(declared, view, [], {})
    async with system.standing(declared) as standing:
        with pytest.raises(RebuildRefused, match=r"publishing\.Producer"):
            await estimate(standing, view, system.store, 1 << 20)
    assert await check(domain, system.owner, system.events) == []
    with pytest.raises(RebuildRefused, match=r"publishing\.Producer"):
        await check(declared, system.owner, system.events)


def test_what_brings_the_events_is_looked_at():
    def change(data):
        tell()
        return data

    [kind, *others] = domain.events
    events = {kind.replace(".v1", ".v2"): domain.events[kind], **{other: domain.events[other] for other in others}}
    declared = replace(domain, events=events, upcasters=(Upcaster(kind, change),))
    with pytest.raises(RebuildRefused, match=r"change\.tell\.HELD\.kafka"):
        fold(declared, DETAILS, [], {})


async def test_no_event_loop_is_at_hand_while_something_is_folded():
    here = asyncio.get_running_loop()
    with refused(), pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    with refused(), pytest.raises(Reached, match="get_event_loop"):
        asyncio.get_event_loop()
    assert asyncio.get_running_loop() is here


def test_a_door_that_is_gone_is_named_when_somebody_folds(monkeypatch):
    monkeypatch.setattr(effects, "DOORS", (*effects.DOORS, ("psycopg", "Connection", "gone")))
    with pytest.raises(RebuildRefused, match=r"psycopg\.Connection\.gone is not there"):
        Guard()
