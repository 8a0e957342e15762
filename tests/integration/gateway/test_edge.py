"""The edge of every service: who may speak, how much, how long, and what is said about it."""

import asyncio
import json
import re
import ssl
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from fastapi import Response
from prometheus_client import REGISTRY
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from infra.errors import StartFailed
from infra.health import Health
from infra.web import Problem, application, running, tls
from infra.web.protocol import DISCARD_LIMIT, HEAD_LIMIT

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 1000
GET = b"GET /quick HTTP/1.1\r\nhost: x\r\n"
LAST = b"connection: close\r\n\r\n"


class Body(BaseModel, extra="forbid"):
    number: int


class Inside:
    """A service that only `gateway` may call."""

    def __init__(self, settings_of):
        self.settings, self.health, self.release = settings_of("parcels-write"), Health(), asyncio.Event()
        self.begun, self.given_up, self.bodies = 0, 0, []
        self.app = application("inside", self.settings, self.health, peers=frozenset({"gateway"}), body_limit=LIMIT)
        self.app.add_api_route("/typed/{id}", self.typed, methods=["POST"])
        for path in ("quick", "slow", "trickle", "broken", "problem", "half", "body"):
            self.app.add_route(f"/{path}", getattr(self, path), methods=["GET", "POST"])

    async def typed(self, id: int, body: Body) -> dict[str, int]:
        return {"id": id, "number": body.number}

    async def quick(self, _):
        return Response(b"quick")

    async def slow(self, _):
        self.begun += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return Response(b"slow")

    async def trickle(self, _):
        async def parts():
            yield b"begin"
            await asyncio.sleep(0.2)
            yield b"end"

        return StreamingResponse(parts())

    async def broken(self, _):
        raise RuntimeError("s3cret")

    async def problem(self, _):
        raise Problem(409, "refused", "no", code="because")

    async def half(self, _):
        async def parts():
            yield b"half"
            raise RuntimeError("s3cret")

        return StreamingResponse(parts())

    async def body(self, request):
        self.bodies.append(await request.body())
        return Response(b"%d" % len(self.bodies[-1]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inside(settings_of):
    service = Inside(settings_of)
    async with running(service.settings, service.app, service.health):
        yield service


@pytest.fixture
def mutual(settings_of):
    return tls.client(settings_of("gateway"))


@asynccontextmanager
async def connected(port, context, **more):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, **more)
    try:
        async with asyncio.timeout(15):
            yield reader, writer
    finally:
        writer.close()


@pytest.fixture
def stranger(authority, foreign_settings):
    """A client that believes us, and shows a certificate of another authority."""
    foreign = foreign_settings("gateway")
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(foreign.cert_file, foreign.key_file)
    return context


@pytest.fixture
def say(inside, mutual):
    async def say(*sent, port=None, context=None):
        async with connected(port or inside.settings.api_port, context or mutual) as (reader, writer):
            for part in sent:
                writer.write(part)
                await writer.drain()
            return await reader.read()

    return say


async def nothing(answer):
    """Whether somebody was turned away before a byte of an answer."""
    try:
        return await answer == b""
    except (ssl.SSLError, ConnectionError):
        return True


def problem(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    found = json.loads(body)
    assert found["status"] == int(head.split()[1])
    return found


# Who may speak.


async def test_a_known_peer_is_answered(say):
    assert (await say(GET + LAST)).endswith(b"quick")


@pytest.mark.parametrize("principal", ["parcels-read", "kafka-ui", "operator", "gateway-2"])
async def test_a_peer_of_another_name_is_refused(say, settings_of, principal):
    answer = await say(GET + LAST, context=tls.client(settings_of(principal)))
    assert problem(answer)["type"] == "/problems/peer-not-allowed"


async def test_without_a_certificate_nobody_is_answered(say, settings_of):
    assert await nothing(say(GET + LAST, context=tls.client(settings_of("gateway"), identified=False)))


async def test_a_certificate_of_another_authority_is_no_certificate(say, stranger):
    assert await nothing(say(GET + LAST, context=stranger))


@pytest.mark.parametrize("port", ["api_port", "health_port"])
async def test_plaintext_is_answered_with_nothing(inside, port):
    async with connected(getattr(inside.settings, port), None) as (reader, writer):
        writer.write(GET + LAST)
        with suppress(ConnectionError):
            assert b"HTTP" not in await reader.read()


@pytest.mark.parametrize(
    ("port", "version", "accepted"),
    [
        ("api_port", ssl.TLSVersion.TLSv1_2, False),
        ("api_port", ssl.TLSVersion.TLSv1_3, True),
        ("health_port", ssl.TLSVersion.TLSv1_2, True),
    ],
)
async def test_inside_only_the_latest_tls_is_spoken(inside, mutual, port, version, accepted):
    mutual.minimum_version, mutual.maximum_version = ssl.TLSVersion.TLSv1_2, version
    try:
        async with connected(getattr(inside.settings, port), mutual) as (_, writer):
            spoken = writer.get_extra_info("ssl_object").version()
    except (ssl.SSLError, ConnectionError):
        spoken = None
    assert (spoken is not None) == accepted


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_no_port_speaks_old_tls(inside, settings_of):
    context = tls.client(settings_of("gateway"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    for port in (inside.settings.api_port, inside.settings.health_port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(port, context):
                pass


# How much.


async def test_a_body_too_large_is_refused_although_the_client_sends_on(say):
    answer = await say(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n", b"x" * 10_000_000)
    assert problem(answer)["type"] == "/problems/content-too-large"


async def test_an_endless_body_is_refused(inside, mutual):
    async with connected(inside.settings.api_port, mutual) as (reader, writer):
        writer.write(b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        reading = asyncio.create_task(reader.read())
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            await flood(writer, b"ff\r\n" + b"x" * 255 + b"\r\n", reading)
        answer = await reading
    assert problem(answer)["status"] == 413
    assert inside.bodies == []


async def flood(writer, part, reading):
    """Sends for as long as somebody listens."""
    while not reading.done():
        writer.write(part * 100)
        await writer.drain()
    raise ConnectionResetError


async def test_a_body_that_nobody_reads_is_not_taken_for_ever(inside, mutual):
    async with connected(inside.settings.api_port, mutual) as (reader, writer):
        writer.write(b"POST /quick HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        reading = asyncio.create_task(reader.read())
        sent = 0
        with suppress(ConnectionError):
            while not reading.done():
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
                sent += 4096
        assert sent < DISCARD_LIMIT + 16 * 1024 * 1024
        reading.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        GET + b"x: " + b"y" * HEAD_LIMIT + b"\r\n" + LAST,
        GET + b"".join(b"x-%d: y\r\n" % number for number in range(10_000)) + LAST,
        b"GET /" + b"x" * HEAD_LIMIT + b" HTTP/1.1\r\nhost: x\r\n" + LAST,
        GET + b"x: " + b"y" * 200_000,
        GET + b"y" * 200_000,
    ],
)
async def test_a_head_too_large_is_refused(say, sent):
    try:
        answer = await say(*(sent[place : place + 16_384] for place in range(0, len(sent), 16_384)))
    except ConnectionError:
        pytest.fail("the answer was lost")
    assert problem(answer)["status"] in (400, 431)


@pytest.mark.parametrize(
    ("broken", "status"),
    [(b"GET /quick HTTP/1.1\r\nbad header\r\n\r\n", b"400"), (GET + b"x: " + b"y" * HEAD_LIMIT + b"\r\n\r\n", b"431")],
)
@pytest.mark.parametrize("asked", [b"quick", b"trickle"])
async def test_a_refusal_overtakes_no_answer_and_ends_the_connection(say, broken, status, asked):
    answer = await say(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % asked + broken)
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert first.endswith(b"quick" if asked == b"quick" else b"3\r\nend\r\n0\r\n\r\n")
    assert second.startswith(status)
    assert b"\r\nx-content-type-options: nosniff\r\n" in second
    assert problem(b"HTTP/1.1 " + second)


async def test_a_head_too_large_is_refused_in_one_piece(say):
    assert problem(await say(GET + b"x: " + b"y" * HEAD_LIMIT + b"\r\n" + LAST))["status"] == 431


@pytest.mark.parametrize("cut", [1, 20, len(GET + LAST) - 1])
async def test_a_head_that_begins_behind_a_large_request_is_measured_alone(inside, mutual, cut):
    told = b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nx: " + b"y" * (HEAD_LIMIT - 100) + b"\r\n\r\n"
    async with connected(inside.settings.api_port, mutual) as (reader, writer):
        writer.write(told + b"x" * 1000 + (GET + LAST)[:cut])
        assert (await reader.readuntil(b"\r\n\r\n1000")).startswith(b"HTTP/1.1 200 ")
        writer.write((GET + LAST)[cut:])
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


async def test_a_large_head_is_still_taken(say):
    answer = await say(GET + b"x: " + b"y" * (HEAD_LIMIT - 1000) + b"\r\n" + LAST)
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /quick\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\nx : y\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
        b"GET /qu\xc3\xa4ck HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\na",
        b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n",
        b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /body HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\nx: a\r\n folded\r\n\r\n",
        b"GET /quick HTTP/1.1\r\n\r\n",
        b"GET /quick HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET /quick HTTP/3.0\r\nhost: x\r\n\r\n",
        b"GET /quick HTTP/2.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_a_problem_and_ends_the_connection(inside, say, sent):
    before = len(inside.bodies)
    answer = await say(sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert problem(answer)["type"] == "/problems/bad-request"
    assert len(inside.bodies) == before


async def test_a_request_hidden_behind_another_is_its_own_request(say):
    answer = await say(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd" + GET + LAST)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"200"]
    assert answer.endswith(b"quick")


# What is said.


async def test_an_error_that_nobody_expected_says_nothing_about_itself(say, caplog):
    answer = await say(b"GET /broken HTTP/1.1\r\nhost: x\r\n" + LAST)
    assert problem(answer)["type"] == "/problems/internal-error"
    assert b"s3cret" not in answer
    assert b"Traceback" not in answer
    assert "s3cret" in caplog.text


async def test_an_error_in_mid_answer_breaks_it_off(say):
    answer = await say(b"GET /half HTTP/1.1\r\nhost: x\r\n" + LAST)
    assert b"half" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert b"s3cret" not in answer


async def test_a_problem_keeps_its_extensions(say):
    found = problem(await say(b"GET /problem HTTP/1.1\r\nhost: x\r\nx-request-id: r-1\r\n" + LAST))
    assert (found["code"], found["request_id"], found["instance"]) == ("because", "r-1", "/problem")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"number": "s3cret"}', "int_parsing"),
        (b'{"number": 1, "s3cret": 1}', "extra_forbidden"),
        (b"{}", "missing"),
        (b"s3cret", "json_invalid"),
        (b"", "missing"),
        (b"NaN", "model_attributes_type"),
        (b"[" * 900, "json_invalid"),
    ],
)
async def test_what_does_not_fit_is_named_and_not_repeated(say, body, code):
    sent = b"POST /typed/1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    found = problem(await say(sent + LAST + body))
    assert (found["type"], found["errors"][0]["code"]) == ("/problems/invalid-content", code)
    assert "s3cret" not in json.dumps([{**fault, "field": ""} for fault in found["errors"]])


@pytest.mark.parametrize(
    ("line", "status"), [(b"GET /nothing", 404), (b"PUT /quick", 405), (b"GET /typed/1", 405), (b"OPTIONS /quick", 405)]
)
async def test_the_frameworks_own_errors_are_problems_too(say, line, status):
    answer = await say(line + b" HTTP/1.1\r\nhost: x\r\n" + LAST)
    assert problem(answer)["status"] == status
    assert (b"\r\nallow: " in answer) == (status == 405)


async def test_the_access_log_has_one_line_for_each_request(inside, say, capfd):
    await say(b"GET /quick?token=s3cret HTTP/1.1\r\nhost: x\r\nx-request-id: log-1\r\n" + LAST)
    await say(b'GET /%0a"}{ HTTP/1.1\r\nhost: x\r\nx-request-id: log-2\r\n' + LAST)
    inside.app.access.flush()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"access"' in line]
    told = {line["http"]["request"]["id"]: line for line in lines}
    assert told["log-1"]["url"] == {"path": "/quick"}
    assert told["log-1"]["http"]["response"]["status_code"] == 200
    assert told["log-1"]["milliseconds"] >= 0
    assert told["log-2"]["http"]["response"]["status_code"] == 404
    assert "s3cret" not in json.dumps(lines)


@pytest.fixture
def logged(inside, capfd):
    """The access lines that are new, when there are so many: who has an answer may know it before they are written."""
    inside.app.access.flush()
    capfd.readouterr()

    async def logged(many):
        found = []
        async with asyncio.timeout(5):
            while len(found) < many:
                await asyncio.sleep(0)
                inside.app.access.flush()
                found += [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"access"' in line]
        return found

    return logged


async def test_the_access_log_says_who_asked_for_what_and_how_much_came_of_it(say, logged):
    agent = b"a" * 190 + b'"\xff' + b"b" * 100
    for ask, size in ((b"GET /quick", 5), (b"HEAD /openapi.json", 0), (b"POST /typed/7", None), (b"GET /trickle", 8)):
        answer = await say(ask + b" HTTP/1.1\r\nhost: x\r\nuser-agent: " + agent + b"\r\n" + LAST)
        [line] = await logged(1)
        expected = len(answer.partition(b"\r\n\r\n")[2]) if size is None else size
        assert line["http"]["response"]["body"]["bytes"] == expected
        assert line["client"] == {"ip": "127.0.0.1"}
        assert line["user_agent"] == {"original": "a" * 190 + '"\xff' + "b" * 8}
    await say(b"POST /typed/7 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" + LAST)
    await say(b"GET /s3cret HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.1\r\n" + LAST)
    lines = await logged(2)
    assert [line["labels"]["http_route"] for line in lines] == ["/typed/{id}", "unmatched"]
    assert lines[1]["client"] == {"ip": "127.0.0.1"}
    assert "user_agent" not in lines[1]


async def test_what_is_refused_at_its_head_leaves_a_line_too(say, logged, monkeypatch):
    monkeypatch.setattr("infra.web.protocol.HEAD_SECONDS", 0.2)
    for sent, status, path in (
        (b"garbage\r\n\r\n", 400, ""),
        (GET + b" folded: no\r\n\r\n", 400, "/quick"),
        (GET + b"x: " + b"y" * HEAD_LIMIT + b"\r\n" + LAST, 431, "/quick"),
        (b"POST /body?s3cret HTTP/1.1\r\nhost: x\r\nuser-agent: slow\r\nx: ", 408, "/body"),
    ):
        answer = await say(sent)
        assert problem(answer)["status"] == status
        [line] = await logged(1)
        assert (line["http"]["response"]["status_code"], line["url"]["path"]) == (status, path)
        assert line["http"]["request"]["id"] == problem(answer)["request_id"]
        assert line["client"] == {"ip": "127.0.0.1"}
    assert line["http"]["request"]["method"] == "POST"
    assert line["user_agent"] == {"original": "slow"}


async def test_who_says_nothing_leaves_no_line(say, logged, monkeypatch):
    monkeypatch.setattr("infra.web.protocol.HEAD_SECONDS", 0.2)
    assert await say() == b""
    await say(GET + LAST)
    assert [line["url"]["path"] for line in await logged(1)] == ["/quick"]


async def test_what_clients_send_makes_no_new_measurements(say):
    await say(GET + LAST)

    def series():
        return {
            (sample.labels["http_request_method"], sample.labels["http_route"])
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if metric.name == "http_server_request_duration_seconds"
        }

    await say(b"GET /unknown HTTP/1.1\r\nhost: x\r\n" + LAST)
    await say(b"PROPFIND /unknown HTTP/1.1\r\nhost: x\r\n" + LAST)
    before = series()
    for number in range(20):
        await say(b"GET /unknown-%d HTTP/1.1\r\nhost: x\r\n" % number + LAST)
        await say(b"%s /unknown HTTP/1.1\r\nhost: x\r\n" % (b"MKCOL", b"LOCK")[number % 2] + LAST)
    assert series() == before
    assert {("GET", "/quick"), ("GET", "unmatched"), ("other", "unmatched")} <= before


# Health.


async def test_health_is_open_and_metrics_are_not(inside, say, settings_of):
    anybody = tls.client(settings_of("gateway"), identified=False)
    port = inside.settings.health_port
    for path, expected in ((b"/livez", b"alive"), (b"/readyz", b'"service":"ok"')):
        answer = await say(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n" + LAST, port=port, context=anybody)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert expected in answer
    metrics = b"GET /metrics HTTP/1.1\r\nhost: x\r\n" + LAST
    assert problem(await say(metrics, port=port, context=anybody))["type"] == "/problems/client-certificate-required"
    answer = await say(metrics, port=port, context=tls.client(settings_of("prometheus")))
    assert b"\nhttp_server_request_duration_seconds_count{" in answer


async def test_metrics_are_not_for_certificates_of_another_authority(inside, say, stranger):
    metrics = b"GET /metrics HTTP/1.1\r\nhost: x\r\n" + LAST
    assert await nothing(say(metrics, port=inside.settings.health_port, context=stranger))


async def test_a_service_that_is_not_ready_says_why(inside, say, settings_of):
    inside.health.check("store", lambda: "no connection")
    try:
        answer = await say(
            b"GET /readyz HTTP/1.1\r\nhost: x\r\n" + LAST,
            port=inside.settings.health_port,
            context=tls.client(settings_of("gateway"), identified=False),
        )
    finally:
        inside.health.check("store", lambda: None)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "status": "not ready",
        "checks": {"service": "ok", "store": "no connection"},
    }


# How long.


async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(inside, mutual, monkeypatch):
    monkeypatch.setattr("infra.web.protocol.HEAD_SECONDS", 0.2)
    for begin in (b"", b"GET /quick HTTP/1.1\r\nhost: ", GET + b"\r\n" + b"GET /sl"):
        async with connected(inside.settings.api_port, mutual) as (reader, writer):
            writer.write(begin)
            await reader.read()


async def test_what_nobody_waits_for_any_more_is_given_up(inside, say):
    answer = await say(GET.replace(b"quick", b"slow") + b"x-request-timeout-ms: 100\r\n" + LAST)
    assert (problem(answer)["status"], problem(answer)["type"]) == (504, "/problems/gateway-timeout")
    assert inside.given_up == 1


async def test_a_problem_in_time_is_that_problem(say):
    answer = await say(GET.replace(b"quick", b"problem") + b"x-request-timeout-ms: 10000\r\n" + LAST)
    assert problem(answer)["type"] == "/problems/refused"


async def test_an_answer_that_has_begun_is_not_given_up(say):
    answer = await say(GET.replace(b"quick", b"trickle") + b"x-request-timeout-ms: 100\r\n" + LAST)
    assert b"end" in answer


async def test_stopping_finishes_what_runs_and_takes_nothing_new(settings_of, mutual):
    service = Inside(settings_of)
    stop, asked = asyncio.Event(), b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"

    async def serving():
        async with running(service.settings, service.app, service.health):
            await stop.wait()

    task = asyncio.create_task(serving())
    await until(lambda: service.health.ready)
    async with connected(service.settings.api_port, mutual) as (reader, writer):
        writer.write(asked)
        await until(lambda: service.begun)
        stop.set()
        await until(lambda: not service.health.ready)
        assert service.health.reasons()["service"] == "stopping"
        await until_refused(service.settings.api_port)
        assert b'"service":"stopping"' in await readiness(service.settings)
        service.release.set()
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"slow")
    await task


async def test_stopping_does_not_wait_for_ever(settings_of, mutual):
    service = Inside(lambda name: settings_of(name, drain_seconds=0.5))
    async with asyncio.timeout(10):
        async with running(service.settings, service.app, service.health):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.api_port, ssl=mutual)
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            await until(lambda: service.begun)
    answer = await reader.read()
    writer.close()
    assert problem(answer)["type"] == "/problems/service-unavailable"


async def test_a_taken_port_is_named(inside):
    with pytest.raises(StartFailed, match=f"cannot listen on 127.0.0.1:{inside.settings.health_port}"):
        async with running(inside.settings, inside.app, Health()):
            pass


async def test_a_lifespan_that_fails_stops_the_service(settings_of):
    settings = settings_of("parcels-write")

    @asynccontextmanager
    async def failing(_):
        raise StartFailed("no store")
        yield

    app = application("x", settings, Health(), peers=None, body_limit=1, lifespan=failing)
    with pytest.raises(StartFailed, match="no store"):
        async with running(settings, app, Health()):
            pass
    await until_refused(settings.health_port)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the condition lies in what is tested
            await asyncio.sleep(0.005)


async def until_refused(port):
    """Until nobody listens any more."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.005)


async def readiness(settings):
    anybody = tls.client(settings, identified=False)
    async with connected(settings.health_port, anybody) as (reader, writer):
        writer.write(b"GET /readyz HTTP/1.1\r\nhost: x\r\n" + LAST)
        return await reader.read()
