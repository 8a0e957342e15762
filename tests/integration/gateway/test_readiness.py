"""Instances that are not ready get no requests while another is; nobody has to fail for that."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from fastapi import Response

from gateway import readiness, upstream
from gateway.instance import UNWELL_SECONDS, Instance, Limits, now
from gateway.readiness import Watch
from gateway.upstream import Upstream
from infra.web import tls
from tests.integration.gateway.conftest import OK, Recorder, Scripted, exchange

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(readiness, "EVERY_SECONDS", 0.1)
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.3)


@pytest_asyncio.fixture
async def two(settings_of):
    """Two instances of the same service, both ready."""
    async with AsyncExitStack() as stack:
        services = [Recorder(settings_of("parcels-read")) for _ in range(2)]
        for one in services:
            await stack.enter_async_context(one.running())
        yield services


@pytest.fixture
def watched(settings_of):
    @asynccontextmanager
    async def watched(*services, host="127.0.0.1"):
        found = upstream_at(settings_of, *services, host=host)
        watching = asyncio.create_task(Watch(found).run())
        try:
            yield found
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await found.close()

    return watched


def upstream_at(settings_of, *services, host="127.0.0.1"):
    addresses = [f"https://{host}:{port}" for port in ports(*services)]
    return Upstream(addresses, "parcels-read", tls.client(settings_of("gateway")), Limits(connect_seconds=1.0))


def ports(*services):
    return [one.settings.api_port for one in services]


async def ask(upstream):
    async with upstream.exchange(REQUEST, repeatable=True, seconds=5.0) as connection:
        connection.take()
        return connection.status


async def until(found, *unready):
    """Until exactly the instances at these ports are known not to be ready."""
    async with asyncio.timeout(5):
        while {one.place[1] for one in await found.known() if one.unready} != {*unready}:  # noqa: ASYNC110  # it is asked for
            await asyncio.sleep(0.01)


async def test_an_instance_that_turns_unready_without_failing_gets_no_requests_and_then_again_some(two, watched):
    ill, well = two
    async with watched(*two) as found:
        assert {await ask(found) for _ in range(20)} == {200}
        assert ill.seen
        assert well.seen
        ill.health.check("disk", lambda: "full")
        await until(found, ill.settings.api_port)
        ill.forget()
        assert {await ask(found) for _ in range(20)} == {200}
        assert not ill.seen
        ill.health.check("disk", lambda: None)
        await until(found)
        assert {await ask(found) for _ in range(20)} == {200}
        assert ill.seen


async def test_where_none_is_ready_all_are_asked(two, watched):
    async with watched(*two) as found:
        for one in two:
            one.health.check("disk", lambda: "full")
        await until(found, *ports(*two))
        assert {await ask(found) for _ in range(20)} == {200}
        assert all(one.seen for one in two)


async def test_an_error_of_one_that_is_ready_sends_nobody_to_one_that_is_not(two, watched):
    ill, failing = two
    ill.health.check("disk", lambda: "full")
    failing.answers = [Response(status_code=503)] * 20
    async with watched(*two) as found:
        await until(found, ill.settings.api_port)
        assert {await ask(found) for _ in range(20)} == {503}
        assert not ill.seen


@pytest.mark.parametrize("greets", [True, False], ids=["a TLS server", "a socket"])
async def test_an_instance_that_accepts_and_never_answers_is_left(two, watched, settings_of, scripted, greets):
    silent = scripted(settings_of("parcels-read"))
    silent.scripts = [(60.0,)] * 1000
    if greets:
        await silent.start()
    else:
        silent._server = await asyncio.start_server(
            lambda _, writer: silent.open.add(writer), "127.0.0.1", silent.settings.api_port
        )
    async with watched(silent, two[0]) as found:
        await until(found, silent.settings.api_port)
        asked = len(silent.requests)
        assert {await ask(found) for _ in range(20)} == {200}
        assert all(readiness.READYZ.encode() in one for one in silent.requests[asked:])
    await silent.stop()


class Busy(Scripted):
    """It answers all but the question."""

    async def _play(self, script, writer):
        await super()._play((60.0,) if readiness.READYZ.encode() in self.requests[-1] else script, writer)


async def test_a_slow_answer_to_the_question_alone_sets_no_instance_aside_that_answers_requests(two, settings_of):
    busy = Busy(settings_of("parcels-read"))
    async with busy.running():
        found = upstream_at(settings_of, busy, two[0])
        watch = Watch(found)

        async def asked():
            while True:
                assert await ask(found) == 200

        asking = asyncio.create_task(asked())
        for _ in range(readiness.MOST_UNANSWERED + 1):
            await watch.look()
        assert [one.unready for one in await found.known()] == [None, None]
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for _ in range(readiness.MOST_UNANSWERED):
            await watch.look()
        assert [one.unready for one in await found.known()] == ["it does not answer", None]
        await found.close()


async def test_an_error_that_was_on_its_way_makes_no_unready_instance_well_again(settings_of, scripted):
    silent = scripted(settings_of("parcels-read"))
    silent.scripts = [(0.1, OK.replace(b"200 OK", b"503 Service Unavailable"))]
    async with silent.running():
        instance = Instance(("127.0.0.1", *ports(silent)), "parcels-read", tls.client(settings_of("gateway")), Limits())
        asking = asyncio.create_task(instance.ask(REQUEST, now() + 5))
        async with asyncio.timeout(5):
            while not silent.requests:  # noqa: ASYNC110  # it is asked for
                await asyncio.sleep(0.01)
        instance.says("it says so")
        instance.release(await asking)
        assert not instance.well(now() + 2 * UNWELL_SECONDS)
        instance.says(None)
        assert instance.well(now())
        instance.close()


async def test_one_question_that_is_lost_makes_nobody_unready(two, settings_of):
    found = upstream_at(settings_of, *two)
    watch = Watch(found)
    await watch.look()
    for line in watch._lines.values():
        line._connection._transport.abort()
    await watch.look()
    assert [one.unready for one in await found.known()] == [None, None]
    await found.close()


async def test_one_alone_is_not_asked(settings_of, scripted):
    alone = scripted(settings_of("parcels-read"))
    async with alone.running():
        found = upstream_at(settings_of, alone)
        await Watch(found).look()
        assert await ask(found) == 200
        assert alone.requests == [REQUEST]
        await found.close()


async def test_nobody_but_callers_is_told_and_nothing_is_logged(two, settings_of, capfd):
    (port, _), context = ports(*two), tls.client(settings_of("gateway"))
    context.check_hostname = False
    question = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert (await exchange(port, question, context)).startswith(b"HTTP/1.1 200")
    stranger = tls.client(settings_of("orders-read"))
    stranger.check_hostname = False
    assert (await exchange(port, question, stranger)).startswith(b"HTTP/1.1 403")
    two[0].app.access.flush()
    lines = [line for line in capfd.readouterr().err.splitlines() if "parcels-read" in line and "/readyz" in line]
    assert [line for line in lines if '"status_code":200' in line] == []


async def test_the_gateway_asks_those_whom_it_passes_requests_to(two, make_world):
    world = make_world(Recorder)
    one, other = world.read, two[0]
    addresses = [f"https://127.0.0.1:{port}" for port in ports(one, other)]
    world.settings = world.settings.model_copy(update={"services": {"parcels": {"read": addresses}}})
    async with world.running():
        assert (await world.ask("GET", readiness.READYZ)).status == 404
        one.health.check("disk", lambda: "full")
        async with asyncio.timeout(5):
            while one.seen or not other.seen:
                one.forget()
                assert {(await world.ask("GET", "/v1/parcels/on-the-way")).status for _ in range(10)} == {200}


async def test_a_name_in_dns_takes_places_away_but_not_for_a_moment_in_which_it_leads_nowhere(
    two, watched, monkeypatch
):
    one, other = ports(*two)
    led_to = {port: [("127.0.0.1", port)] for port in (one, other)}
    looked = asyncio.Condition()

    async def resolved(address):
        async with looked:
            looked.notify_all()
        return led_to[address[1]]

    async def looked_up():
        """Both names, after now."""
        for _ in range(4):
            async with looked:
                await looked.wait()

    monkeypatch.setattr(upstream, "resolved", resolved)
    monkeypatch.setattr(upstream, "RESOLVE_SECONDS", 0.0)
    async with watched(*two, host="parcels.test") as found, asyncio.timeout(5):
        await looked_up()
        led_to[one] = []
        await looked_up()
        assert {place.place[1] for place in await found.known()} == {one, other}
        async with found.exchange(REQUEST, repeatable=True, seconds=5.0) as running:
            led_to[one] = [("127.0.0.1", other)]
            await looked_up()
            assert [place.place[1] for place in await found.known()] == [other]
            running.take()
        two[0].forget()
        assert {await ask(found) for _ in range(20)} == {200}
        assert not two[0].seen


async def test_a_name_server_that_hangs_keeps_nobody_from_being_asked(two, watched, monkeypatch):
    hangs = asyncio.Event()
    real = upstream.resolved

    async def resolved(address):
        await hangs.wait() if hanging else None
        return await real(address)

    hanging = False
    monkeypatch.setattr(upstream, "resolved", resolved)
    monkeypatch.setattr(upstream, "RESOLVE_SECONDS", 0.0)
    async with watched(*two) as found:
        assert await ask(found) == 200
        hanging = True
        two[0].health.check("disk", lambda: "full")
        await until(found, two[0].settings.api_port)
        hangs.set()
