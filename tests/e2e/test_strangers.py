"""Strangers on the events topic, in the midst of good events: set aside as they came, and nothing stops or is lost."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from urllib.request import urlopen
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from domains.orders import domain
from eventstore.cloudevents import encode
from eventstore.records import Metadata, RecordedEvent
from infra.kafka import librdkafka
from infra.partitions import partition_of
from infra.web import tls

AT = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
PLACE = {
    "customer": "17850",
    "country": "United Kingdom",
    "placed_at": "2010-12-01T08:26:00Z",
    "currency": "GBP",
    "lines": [{"sku": "85123A", "description": "T-LIGHT HOLDER", "quantity": 6, "unit_price": "2.55"}],
}
FACT = {
    "occurred_at": "2010-12-01T08:26:00Z",
    "customer": None,
    "country": "Nowhere",
    "currency": "GBP",
    "lines": [],
    "total": "1000000.00",
}
MOST_SECONDS = 10
CODECS = ("gzip", "snappy", "lz4", "zstd")
LARGEST = 2 * 1024 * 1024 - 100
ORIGIN = ("headrace-origin-topic", "headrace-origin-partition", "headrace-origin-offset")


@dataclass
class Stranger:
    """A record as somebody with the right to write may send it."""

    partition: int
    key: bytes | None = b"orders-1"
    value: bytes | None = b"{}"
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
    codec: str = "none"


def event(number, position=1, type="orders.OrderPlaced.v1", stream="orders", version=1, **fact):
    """A record that is an event of ours in every respect, but one that the store does not have."""
    data = json.dumps({**FACT, "order": number, **fact}).encode()
    made = RecordedEvent(position, f"{stream}-{number}", version, uuid4(), type, AT, AT, data, Metadata())
    record = encode(made, f"/{stream}")
    return Stranger(partition(number), record.key, record.value, record.headers)


def partition(number):
    return partition_of(f"orders-{number}".encode(), domain.partitions)


def without_id(value):
    return json.dumps({name: part for name, part in json.loads(value).items() if name != "id"}).encode()


def strangers(number, passed):
    """One of each kind; `passed` is a position that this order's partition has behind it."""
    good, where = event(number), partition(number)
    text = [(name, b"text/plain" if name == "content-type" else value) for name, value in good.headers]
    spoofed = [*good.headers, ("tenant", b"another"), ("principal", b"operator"), ("ce_actor", b"operator")]
    odd = [("x", b"\xff\xfe"), ("x", b""), ("y", None)]
    kinds = {
        "not JSON": Stranger(where, good.key, b"{not json", good.headers),
        "no CloudEvent": Stranger(where, good.key, b'{"hello": "world"}', good.headers),
        "a wrong content type": Stranger(where, good.key, good.value, text),
        "an unknown type": event(number, type="orders.OrderTeleported.v1"),
        "a newer version": event(number, type="orders.OrderPlaced.v9"),
        "a tombstone": Stranger(where, good.key, None, good.headers),
        "a megabyte": Stranger(where, b"\xff\x00", os.urandom(1_000_000), odd),
        "a header that is no UTF-8": Stranger(
            where, good.key, good.value, [("ce_type", b"\xff\xfe"), *good.headers[:1]]
        ),
        "a header twice": Stranger(where, good.key, good.value, [*good.headers, *good.headers]),
        "no id": Stranger(where, good.key, without_id(good.value), good.headers),
        "spoofed headers": Stranger(where, good.key, good.value, spoofed),
        # Known by its position: one that is free in its partition would be folded, and found by verification.
        "a gap in its stream, at a position that was passed": event(number, version=7),
        "a position that was passed": event(number, position=passed),
        "a position from the future": event(number, position=2**61),
        "another domain": event(number, type="accounts.Opened.v1", stream="accounts"),
        "brackets": Stranger(where, good.key, b"[" * 100_000, good.headers),
        "as large as can be": Stranger(where, None, b"\x00" * LARGEST),
        "an empty key": Stranger(where, b"", good.value, good.headers),
        "nothing": Stranger(where, None, None),
        "another's partition": Stranger((where + 1) % domain.partitions, good.key, good.value, good.headers),
        "data of another shape": event(number, lines="many"),
        **{codec: Stranger(where, good.key, b"{not json" * 1000, good.headers, codec) for codec in CODECS},
    }
    return list(kinds.values())


@pytest.fixture
def send(system):
    """Sends records with the rights of the write side; who must be told where they stand gets that back."""
    producers = {}

    def send(told):
        sent = []
        for stranger in told:
            if stranger.codec not in producers:
                more = {
                    "message.max.bytes": 4 * 1024 * 1024,
                    "compression.type": stranger.codec,
                    "linger.ms": 0,
                    "log_level": 0,
                }
                producers[stranger.codec] = Producer(librdkafka(system.settings("orders-write"), **more))
            producers[stranger.codec].produce(
                domain.events_topic,
                stranger.value,
                stranger.key,
                headers=stranger.headers,
                partition=stranger.partition,
                on_delivery=lambda error, message, of=stranger: sent.append((of, error, message)),
            )
        assert [producer.flush(30) for producer in producers.values()] == [0] * len(producers)
        assert [error for _, error, _ in sent] == [None] * len(sent)
        return {(message.partition(), message.offset()): stranger for stranger, _, message in sent}

    return send


@pytest.fixture
def set_aside(records_of):
    """The dead letters of some records, by where they came from: each with how often it was set aside."""

    def look(places):
        found = {}
        for record in records_of(domain.dead_letter_topic, 1)[0]:
            headers = record.headers()
            told = dict(headers[-5:])
            topic, number, offset = (told[name].decode() for name in ORIGIN)
            assert topic == domain.events_topic
            assert told["headrace-reason"]
            if (place := (int(number), int(offset))) in places:
                found.setdefault(place, []).append((record.key(), record.value(), headers[:-5]))
        return found

    return look


class Metrics:
    """What the read side tells of itself."""

    def __init__(self, system):
        self._context = tls.client(system.settings("orders-read"))
        self._address = f"https://127.0.0.1:{system.state.port('orders-read.health')}/metrics"

    def sum(self, name):
        """Over all partitions."""
        with urlopen(self._address, context=self._context) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"headrace_projection_{name}{{"))

    def set_aside(self):
        return self.sum("dead_letters_total")

    async def back_at_the_end(self, set_aside):
        """Waits until so many were set aside and nothing waits any more; how long it took."""
        began = monotonic()
        async with asyncio.timeout(MOST_SECONDS):
            while self.set_aside() < set_aside or self.sum("behind_events"):
                await asyncio.to_thread(lambda: None)
        return monotonic() - began


async def place(client, number):
    answer = await client.post(f"/v1/orders/{number}/place", data=json.dumps(PLACE))
    assert answer.status == 201
    return answer


async def seen(client, placed):
    """Waits until the views have seen an order, and looks at it."""
    token = {"consistency-token": placed.headers["consistency-token"]}
    stream = (await placed.json())["stream"]
    async with asyncio.timeout(60):
        while (answer := await client.get(f"/v1/orders/order-details/{stream[7:]}", headers=token)).status == 503:
            continue
    assert answer.status == 200
    assert (await answer.json())["total"] == "15.30"


def spread(placed):
    """One stranger of each kind, the kinds spread over the partitions of these orders."""
    lanes = [strangers(told["stream"][7:], told["position"]) for told in placed]
    return [kinds[number % len(lanes)] for number, kinds in enumerate(zip(*lanes, strict=True))]


def one_of_each_partition():
    numbers = {}
    while len(numbers) < domain.partitions:
        number = uuid4().hex[:12]
        numbers.setdefault(partition(number), number)
    return [numbers[place] for place in sorted(numbers)]


async def test_each_stranger_is_set_aside_as_it_came_and_the_good_around_it_are_seen(
    system, client, send, set_aside, summary
):
    before = [await place(client, number) for number in one_of_each_partition()]
    for placed in before:
        await seen(client, placed)
    metrics = Metrics(system)
    at_first = metrics.set_aside()
    sent = send(spread([await placed.json() for placed in before]))
    after = [await place(client, number) for number in one_of_each_partition()]
    seconds = await metrics.back_at_the_end(at_first + len(sent))
    for placed in after:
        await seen(client, placed)
    found = set_aside(sent)
    assert found == {place: [(each.key, each.value, each.headers)] for place, each in sent.items()}
    assert metrics.set_aside() - at_first == len(sent)
    assert (await client.get("/v1/orders/sales-by-country/Nowhere")).status == 404
    assert {part["name"]: part["state"] for part in system.status_json()["components"]}["orders-read"] == "running"
    summary.append(
        f"strangers on the events topic: {len(sent)} kinds set aside as they came, once each: {seconds:.1f} s"
    )


@pytest.mark.timeout(300)
async def test_a_worker_that_is_killed_among_strangers_loses_none_of_them(system, client, send, set_aside, summary):
    first = [await (await place(client, number)).json() for number in one_of_each_partition()]
    sent, good = {}, []
    for _ in range(2):
        sent |= send(spread(first))
        good.append(await place(client, uuid4().hex[:12]))
        system.kill("orders-read")
        await asyncio.to_thread(system.up)
    # Behind the last stranger of each partition, so that whoever has seen these has met all strangers.
    good += [await place(client, number) for number in one_of_each_partition()]
    for placed in good:
        await seen(client, placed)
    found = set_aside(sent)
    assert found.keys() == sent.keys()
    for place_of, letters in found.items():
        stranger = sent[place_of]
        assert all(letter == (stranger.key, stranger.value, stranger.headers) for letter in letters)
    again = sum(len(letters) - 1 for letters in found.values())
    summary.append(f"2 kills of the worker among {len(sent)} strangers: none lost, {again} set aside once more")


async def test_an_event_of_ours_that_nobody_can_read_parks_its_stream_and_people_can_see_and_skip_it(
    system, client, send, records_of
):
    numbers = one_of_each_partition()[:2]
    own = await place(client, numbers[0])
    free = await (await place(client, numbers[1])).json()
    await seen(client, own)
    # The position of an event in another partition is the only one that is free in this partition.
    send([event(numbers[0], position=free["position"], type="orders.OrderPlaced.v9")])
    behind = await client.post(f"/v1/orders/{numbers[0]}/cancel", data='{"cancelled_at": "2010-12-02T08:26:00Z"}')
    assert behind.status == 201
    token = {"consistency-token": behind.headers["consistency-token"]}
    answer = await client.get(f"/v1/orders/order-details/{numbers[0]}", headers=token)
    assert (answer.status, (await answer.json())["status"]) == (200, "placed")
    assert answer.headers["data-parked"] == str(free["position"])

    def parked():
        told = json.loads(system.headrace("projection", "parked", "--json").stdout)["parked"]
        return {(one["view"], one["key"], one["events"]) for one in told}

    stream = f"orders-{numbers[0]}"
    waiting = {(f"orders/{view.name}", stream, 2) for view in domain.views}
    assert parked() == waiting
    again = system.headrace("projection", "retry", "--all", "--json")
    assert again.returncode == 1
    assert {one["error"].partition(": ")[2] for one in json.loads(again.stdout)["retried"]} == {
        "its type 'orders.OrderPlaced.v9' is newer than this code, which knows version 1"
    }
    assert parked() == waiting
    for view in domain.views:
        done = system.headrace("projection", "skip", f"orders/{view.name}", stream, "--why", "a test", "--json")
        assert (done.returncode, json.loads(done.stdout)["folded"]) == (0, 1)
    assert parked() == set()
    told = json.loads(system.headrace("projection", "parked", "--history", "--json").stdout)["skipped"]
    assert [(one["position"], one["why"]) for one in told] == [(free["position"], "a test")] * len(domain.views)
    events = await skips_of(records_of, stream, len(domain.views))
    assert {name: {event["data"][name] for event in events} for name in ("position", "why", "view", "of_stream")} == {
        "position": {free["position"]},
        "why": {"a test"},
        "view": {view.name for view in domain.views},
        "of_stream": {True},
    }
    assert {(event["type"], event["actor"]) for event in events} == {("orders.EventSkipped.v1", told[0]["who"])}
    answer = await client.get(f"/v1/orders/order-details/{numbers[0]}")
    assert (await answer.json())["status"] == "cancelled"
    assert "data-parked" not in answer.headers
    assert system.headrace("projection", "skip", "order-details", "nobody", "--why", "x").returncode == 3


async def skips_of(records_of, stream, number):
    """The events that tell what was left out of a stream, as soon as there are so many."""
    async with asyncio.timeout(20):
        while True:
            records = (await asyncio.to_thread(records_of, domain.skips_topic, 1))[0]
            if len(found := [json.loads(one.value()) for one in records if one.key() == stream.encode()]) == number:
                return found


async def test_people_can_look_at_each_letter_and_have_it_judged_anew(system, client, send, records_of, number):
    await seen(client, await place(client, number))
    lane, key = partition(number), f"orders-{number}".encode()
    [own] = [record for record in records_of(domain.events_topic)[lane] if record.key() == key]
    copy = Stranger(lane, key, own.value(), own.headers())
    junk = Stranger(lane, b"\xff", b"{not json\x00\x1b", [("x", b"\xfe")])
    send([junk, event(number), copy])
    await seen(client, await place(client, another_in(lane)))

    letters = json.loads(system.headrace("dlq", "list", "orders", "--json").stdout)["letters"][-3:]
    assert [(one["key"], one["bytes"]) for one in letters] == [
        ("\\xff", len(junk.value)),
        (key.decode(), len(event(number).value)),
        (key.decode(), len(copy.value)),
    ]
    assert all(one["origin"].startswith(f"{domain.events_topic}/{lane}@") and one["reason"] for one in letters)
    shown = str(letters[0]["number"])
    assert system.headrace("dlq", "show", "orders", shown, "--raw").stdout.encode() == junk.value
    assert json.loads(system.headrace("dlq", "show", "orders", shown, "--json").stdout)["headers"] == [["x", "\\xfe"]]
    assert system.headrace("dlq", "show", "orders", "99999999").returncode == 3
    done = system.headrace("dlq", "replay", "orders", "--json")
    verdicts = [one["verdict"] for one in json.loads(done.stdout)["letters"][-3:]]
    assert (done.returncode, verdicts) == (5, ["stranger", "forged", "ours"])


def another_in(lane):
    return one_of_each_partition()[lane]
