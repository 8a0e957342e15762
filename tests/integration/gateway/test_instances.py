"""A service with several instances: the well ones are asked, and nobody waits for the others."""

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
import pytest_asyncio

from gateway.errors import BrokenOff, Busy, SetAside, TooSlow, Unreachable
from gateway.instance import Limits
from gateway.passing import Passing
from gateway.upstream import Upstream
from infra.web import tls

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
UNABLE = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}"
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest_asyncio.fixture
async def two(settings_of, scripted):
    """Two instances of the same service."""
    services = [scripted(settings_of("parcels-read")) for _ in range(2)]
    for service in services:
        await service.start()
    yield services
    for service in services:
        await service.stop()


@pytest_asyncio.fixture
async def upstream_of(settings_of):
    made = []

    def make(*services, host="127.0.0.1", **limits):
        addresses = [f"https://{host}:{service.settings.api_port}" for service in services]
        given = {"connect_seconds": 5.0, "queue_seconds": 5.0, "failures": 3, **limits}
        made.append(Upstream(addresses, "parcels-read", tls.client(settings_of("gateway")), Limits(**given)))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def ask(upstream, *, repeatable=True, seconds=5.0):
    async with upstream.exchange(REQUEST, repeatable=repeatable, seconds=seconds) as connection:
        assert connection.complete
        return connection.status


async def test_the_load_is_shared(two, upstream_of):
    upstream = upstream_of(*two)
    for one in two:
        one.scripts += [(0.01, OK)] * 60
    assert set(await asyncio.gather(*(ask(upstream) for _ in range(60)))) == {200}
    assert all(len(one.requests) > 15 for one in two)


async def test_a_slow_instance_gets_less(two, upstream_of):
    slow, quick = two
    upstream = upstream_of(slow, quick)
    slow.scripts += [(0.3, OK)] * 100

    async def client():
        for _ in range(10):
            await ask(upstream)

    await asyncio.gather(*(client() for _ in range(4)))
    assert len(slow.requests) < len(quick.requests) / 2


async def test_an_instance_that_is_down_disturbs_nobody(two, upstream_of):
    upstream = upstream_of(*two)
    await two[0].stop()
    assert {await ask(upstream, repeatable=False) for _ in range(20)} == {200}
    await two[0].start()
    two[1].scripts += [(0.05, OK)] * 200
    async with asyncio.timeout(10):
        while not two[0].requests:
            await asyncio.gather(*(ask(upstream) for _ in range(4)))


async def test_what_breaks_off_is_repeated_elsewhere_only_if_that_is_safe(two, upstream_of):
    upstream = upstream_of(*two)
    two[0].scripts = [("abort",)] * 100
    assert {await ask(upstream) for _ in range(4)} == {200}
    others = upstream_of(two[0])
    with pytest.raises(BrokenOff):
        await ask(others, repeatable=False)


async def test_a_service_that_fails_again_and_again_is_left_in_peace_and_found_again(two, upstream_of):
    one = two[0]
    upstream = upstream_of(one)
    await one.stop()
    for _ in range(3):
        with pytest.raises(Unreachable):
            await ask(upstream)
    with pytest.raises(SetAside) as refused:
        await ask(upstream)
    assert 0 < refused.value.seconds <= 0.5
    await one.start()
    status = None
    async with asyncio.timeout(5):
        while status is None:
            with suppress(SetAside):
                status = await ask(upstream)
            await asyncio.sleep(0)
    assert status == 200


async def test_the_deadline_holds_for_everything_together(two, upstream_of):
    upstream = upstream_of(two[0])
    two[0].scripts.append((5.0, OK))
    began = time.monotonic()
    with pytest.raises(TooSlow):
        await ask(upstream, seconds=0.3)
    assert time.monotonic() - began < 2.0


async def test_who_waits_for_less_than_an_answer_may_take_sets_nobody_aside(two, upstream_of):
    upstream = upstream_of(two[0], answer_seconds=1.0)

    async def asked(times, seconds):
        # Over connections that are there already: on a busy machine these take longer than some here have.
        two[0].scripts = [(0.2, OK)] * times + [(5.0, OK)] * times
        assert set(await asyncio.gather(*(ask(upstream) for _ in range(times)))) == {200}
        found = await asyncio.gather(*(ask(upstream, seconds=seconds) for _ in range(times)), return_exceptions=True)
        return {type(one) for one in found}

    for _ in range(2):
        assert await asked(5, 0.1) == {TooSlow}
    assert upstream.instances[0]["state"] == "well"
    assert await asked(2, 1.0) == {TooSlow}
    assert upstream.instances[0]["state"] == "failing"


async def test_a_client_that_does_not_take_his_answer_keeps_no_connection(two, upstream_of):
    upstream = upstream_of(two[0], connections=2, stall_seconds=0.2)
    scope = {"type": "http", "method": "GET", "headers": [], "sent": {}}

    async def never(_):
        await asyncio.Event().wait()

    def relaying(send):
        return Passing(scope, upstream, REQUEST, True, False, time.monotonic() + 5).relay(send)

    slow = [asyncio.create_task(relaying(never)) for _ in range(8)]
    taken = []

    async def take(message):
        taken.append(message["type"])

    async with asyncio.timeout(2):
        await relaying(take)
    assert taken == ["http.response.start", "http.response.body"]
    # What stalls in the midst of an answer holds a connection, and not for long.
    two[0].scripts += [(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{}", 5.0)] * 2
    slow += [asyncio.create_task(relaying(never)) for _ in range(2)]
    found = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(one) for one in found} == {TooSlow}
    assert await ask(upstream) == 200


async def test_what_cannot_be_done_soon_is_turned_away_at_once(two, upstream_of):
    upstream = upstream_of(two[0], connections=1, waiting=1)
    two[0].scripts += [(0.5, OK)] * 2
    running = [asyncio.create_task(ask(upstream)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    began = time.monotonic()
    with pytest.raises(Busy):
        await ask(upstream)
    assert time.monotonic() - began < 0.3
    assert await asyncio.gather(*running) == [200, 200]


async def test_where_there_is_always_a_queue_nobody_joins_it_for_long(two, upstream_of):
    upstream = upstream_of(two[0], connections=1, crowd_seconds=0.0, queue_seconds=5.0)
    two[0].scripts += [(0.5, OK)] * 2
    running = [asyncio.create_task(ask(upstream)) for _ in range(2)]
    # A handshake, so that time passes while the second waits.
    assert await ask(upstream_of(two[1])) == 200
    began = time.monotonic()
    with pytest.raises(Busy):
        await ask(upstream)
    assert time.monotonic() - began < 0.3
    assert await asyncio.gather(*running) == [200, 200]
    assert await ask(upstream) == 200


async def test_a_name_stands_for_where_it_leads(two, upstream_of):
    assert await ask(upstream_of(two[0], host="localhost")) == 200
    with pytest.raises(Unreachable):
        await ask(upstream_of(two[0], host="nowhere.invalid"))


async def test_an_instance_that_says_at_once_that_it_cannot_draws_nobody_to_it(two, upstream_of):
    well, ill = two
    upstream = upstream_of(well, ill)
    well.scripts += [(0.005, OK)] * 400
    ill.scripts += [(UNABLE,)] * 400

    async def client():
        return [await ask(upstream) for _ in range(50)]

    found = Counter(status for answers in await asyncio.gather(*(client() for _ in range(8))) for status in answers)
    assert found[503] < 40
    assert found[200] > 360
