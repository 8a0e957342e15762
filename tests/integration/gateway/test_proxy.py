"""What the gateway passes on, to whom, and what it does not."""

import asyncio
import json
import re
import time
from email.utils import parsedate_to_datetime

import pytest
from fastapi import Response

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
CHUNKED = b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n64\r\nx"
BODY = b'{"weight": 3,  "weight": 4}\r\n\x00\xff'


async def test_a_command_reaches_the_write_side_byte_for_byte(world):
    answer = await world.ask("POST", "/v1/parcels/p-1/send?a=b&a=%20c", data=BODY, headers=JSON)
    assert answer.status == 200
    [(method, path, query, headers, body)] = world.write.seen
    assert (method, path, query, body) == ("POST", b"/v1/parcels/p-1/send", b"a=b&a=%20c", BODY)
    assert headers["content-length"] == str(len(BODY))
    assert headers["host"] == "parcels-write"


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("/v1/parcels/p-1/events", "write"),
        ("/v1/parcels/on-the-way", "read"),
        ("/v1/parcels/on-the-way?weight=3&limit=10", "read"),
        ("/v1/parcels/on-the-way/p-1", "read"),
        ("/v1/parcels/on-the-way/United%20Kingdom", "read"),
        ("/v1/parcels/on-the-way/%C3%96sterreich", "read"),
        ("/v1/parcels/on-the-way/events", "read"),
        ("/v1/parcels/on-the-way/50%25", "read"),
        ("/v1/parcels/on-the-way/%252e%252e", "read"),
        ("/v1/parcels/a;b=c,d:e@f/events", "write"),
        ("/v1/parcels/" + "x" * 300 + "/events", "write"),
    ],
)
async def test_a_question_reaches_its_side_byte_for_byte(world, path, side):
    answer = await world.ask("GET", path)
    assert answer.status == 200
    [(_, seen, query, _, body)] = getattr(world, side).seen
    assert seen + (b"?" + query if query else b"") == path.encode()
    assert body == b""
    assert world.seen == getattr(world, side).seen


@pytest.mark.parametrize(
    "path",
    [
        "/v1/parcels/a%2Fb/events",
        "/v1/parcels/a%2fb/events",
        "/v1/parcels/a%5Cb/events",
        "/v1/parcels/../events",
        "/v1/parcels/%2e%2e/events",
        "/v1/parcels/%2E/events",
        "/v1/parcels/./events",
        "/v1/parcels//events",
        "/v1/parcels/%00/events",
        "/v1/parcels/a%0d%0ax-evil:1/events",
        "/v1/parcels/%7f/events",
        "/v1/parcels/%c2%85/events",
        "/v1/parcels/%ff/events",
        "/v1/parcels/%c0%af/events",
        "/v1/parcels/%zz/events",
        "/v1/parcels/%2/events",
        "/v1/parcels/on-the-way/%2e%2e",
        "/v1/parcels/on-the-way/",
        "/v1/../v1/parcels/on-the-way",
        "/v1//parcels/on-the-way",
        "/v1/%2e%2e/parcels/on-the-way",
        "//v1/parcels/on-the-way",
        "/v1/parcels%2Fon-the-way",
    ],
)
async def test_an_address_that_could_be_read_in_two_ways_is_refused(world, path):
    answer = await world.raw(
        f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token()}\r\nconnection: close\r\n\r\n".encode()
    )
    assert re.match(rb"HTTP/1.1 (400|404) ", answer)
    assert b"application/problem+json" in answer
    assert world.seen == []


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1/", "/v2/parcels/on-the-way", "/v1/unknown/x", "/v1/parcels", "/v1/parcels/p-1"),
        *("/v1/parcels/unknown", "/v1/parcels/p-1/unknown", "/v1/parcels/p-1/send/more", "/V1/parcels/on-the-way"),
        *("/v1/parcels/on-the-way/p-1/more", "/v1/parcels/p-1/Send", "/livez", "/metrics"),
        *("/redoc", "/favicon.ico", "/.well-known/openid-configuration"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_address_is_a_problem(world, method, path):
    answer = await world.ask(method, path, headers=JSON, data=b"{}" if method == "POST" else None)
    assert (answer.status, answer.problem) == (404, "not-found")
    assert world.seen == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/parcels/p-1/send", "POST"),
        ("PUT", "/v1/parcels/p-1/send", "POST"),
        ("HEAD", "/v1/parcels/p-1/send", "POST"),
        ("DELETE", "/v1/parcels/p-1/events", "GET, HEAD"),
        ("POST", "/v1/parcels/on-the-way", "GET, HEAD"),
        ("PATCH", "/v1/parcels/on-the-way/send", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/parcels/on-the-way", "GET, HEAD"),
        ("TRACE", "/v1/parcels/on-the-way", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(world, method, path, allow):
    answer = await world.ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert method == "HEAD" or answer.problem == "method-not-allowed"
    assert "access-control-allow-origin" not in answer.headers
    assert world.seen == []


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/form-data", "application/jsonx", "*/*"])
async def test_a_command_must_be_json(world, content_type):
    headers = [b"content-type: " + content_type.encode() + b"\r\n"] if content_type is not None else []
    answer = await world.raw(command(world, b"{}", *headers))
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert world.seen == []


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
async def test_json_may_have_parameters(world, content_type):
    answer = await world.ask("POST", "/v1/parcels/p-1/send", data=b"{}", headers={"content-type": content_type})
    assert answer.status == 200
    assert world.write.seen[0][3]["content-type"] == content_type


async def test_only_listed_request_headers_are_passed_on(world):
    passed = {
        "accept": "application/json",
        "if-match": '"4"',
        "if-none-match": "*",
        "idempotency-key": '"k-1"',
        "consistency-token": "abc, def",
        "last-event-id": "1.2",
        "prefer": "wait=3",
    }
    dropped = {
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-proto": "http",
        "forwarded": "for=10.0.0.1",
        "cookie": "a=b",
        "te": "trailers",
        "trailer": "x",
        "x-peer": "gateway",
        "x-original-url": "/v1/parcels/other",
        "x-http-method-override": "DELETE",
        "proxy-authorization": "Basic x",
        "user-agent": "evil",
    }
    answer = await world.ask("GET", "/v1/parcels/on-the-way", headers={**passed, **dropped})
    assert answer.status == 200
    headers = dict(world.read.seen[0][3])
    assert headers.pop("authorization").startswith("Bearer ")
    assert headers.pop("host") == "parcels-read"
    assert headers.pop("x-request-id") == answer.headers["x-request-id"]
    assert headers.pop("traceparent")
    assert headers.pop("x-request-timeout-ms") == "1000"
    assert headers == passed


async def test_only_listed_answer_headers_come_back(world):
    passed = {
        "etag": '"4"',
        "location": "/v1/parcels/p-1/events",
        "consistency-token": "abc",
        "data-age": "1",
        "data-position": "4",
        "link": '<?cursor=a>; rel="next"',
        "retry-after": "3",
        "content-type": "application/json",
        "cache-control": "no-store",
    }
    dropped = {"server": "secret/1.0", "x-powered-by": "python", "set-cookie": "a=b", "x-internal": "1"}
    world.write.answers.append(Response(b"{}", 201, {**passed, **dropped}))
    answer = await world.ask("POST", "/v1/parcels/p-1/send", data=b"{}", headers=JSON)
    own = {"date", "content-length", "x-request-id", "x-content-type-options", "strict-transport-security"}
    own |= {"ratelimit", "ratelimit-policy"}
    assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 60
    assert {name.lower(): value for name, value in answer.headers.items() if name.lower() not in own} == passed


@pytest.mark.parametrize("status", [200, 201, 202, 204, 304, 400, 404, 409, 412, 422, 428, 500, 503])
async def test_the_status_of_the_service_is_passed_on(world, status):
    world.read.answers.append(Response(None if status in (204, 304) else b"x", status, {"etag": '"1"'}))
    answer = await world.ask("GET", "/v1/parcels/on-the-way", headers={"accept-encoding": "identity"})
    assert (answer.status, answer.headers["etag"]) == (status, '"1"')


@pytest.mark.parametrize("header", ["idempotency-key", "last-event-id", "content-type", "authorization"])
async def test_a_header_of_one_value_must_not_stand_twice(world, header):
    value = {"content-type": "application/json", "authorization": f"Bearer {world.token()}"}.get(header, '"k"')
    twice = [f"{header}: {value}\r\n".encode()] * 2
    answer = await world.raw(command(world, b"{}", *twice, b"content-type: application/json\r\n"))
    assert re.match(rb"HTTP/1.1 (400|401) ", answer)
    assert world.seen == []


async def test_the_request_id_goes_all_the_way(world):
    answer = await world.ask("GET", "/v1/parcels/on-the-way", headers={"x-request-id": "shop-1.2_3"})
    assert answer.headers["x-request-id"] == "shop-1.2_3"
    assert world.read.seen[0][3]["x-request-id"] == "shop-1.2_3"


@pytest.mark.parametrize("sent", [b"a b", b"x" * 65, b"\xff", b'"', b"a\tb"])
async def test_an_unsafe_request_id_goes_nowhere(world, sent):
    answer = await world.raw(get(world, b"x-request-id: " + sent + b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    own = re.search(rb"x-request-id: ([0-9a-f]{32})\r\n", answer)[1]
    assert world.read.seen[0][3]["x-request-id"].encode() == own


async def test_the_trace_goes_all_the_way_as_new_spans(world):
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await world.ask("GET", "/v1/parcels/on-the-way", headers={"traceparent": f"00-{trace}-{span}-01"})
    passed = world.read.seen[0][3]["traceparent"]
    assert passed.startswith(f"00-{trace}-")
    assert span not in passed


async def test_every_answer_is_hardened_and_says_nothing_about_the_server(world):
    for path in ("/v1/parcels/on-the-way", "/v1/parcels/unknown", "/openapi.json"):
        answer = await world.ask("GET", path, headers={"origin": "https://evil.example"})
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_a_large_body_passes_and_a_larger_one_does_not(world):
    answer = await world.ask("POST", "/v1/parcels/p-1/send", data=b" " * 512 * 1024, headers=JSON)
    assert (answer.status, len(world.write.seen[0][4])) == (200, 512 * 1024)
    answer = await world.ask("POST", "/v1/parcels/p-1/send", data=b" " * (512 * 1024 + 1), headers=JSON)
    assert (answer.status, len(world.write.seen)) == (413, 1)


async def test_a_chunked_body_arrives_with_its_length(world):
    async def parts():
        for number in range(5):
            yield b"%d" % number * 1000
            await asyncio.sleep(0)

    answer = await world.ask("POST", "/v1/parcels/p-1/send", data=parts(), headers=JSON)
    assert answer.status == 200
    assert world.write.seen[0][3]["content-length"] == "5000"
    assert "transfer-encoding" not in world.write.seen[0][3]


async def test_the_body_of_a_question_is_neither_passed_on_nor_taken_for_a_request(world):
    hidden = b"GET /v1/parcels/on-the-way/hidden HTTP/1.1\r\nhost: x\r\n\r\n"
    length = b"content-length: %d\r\n" % len(hidden)
    first = get(world, length).replace(b"connection: close\r\n", b"") + hidden
    answer = await world.raw(first + get(world))
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"200"]
    assert [(path, body) for _, path, _, _, body in world.seen] == [(b"/v1/parcels/on-the-way", b"")] * 2


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_neither_is_it_when_the_service_is_asked_at_once(world, method):
    await world.ask("GET", "/v1/parcels/on-the-way")  # from now on the token is known and a connection idle
    world.read.forget()
    hidden = b"GET /v1/parcels/on-the-way/hidden HTTP/1.1\r\nhost: x\r\n\r\n"
    token = f"authorization: {world.bearer()['authorization']}\r\n".encode()
    line, length = method + b" /v1/parcels/on-the-way HTTP/1.1\r\n", b"content-length: %d\r\n\r\n" % len(hidden)
    answer = await world.raw(line + b"host: x\r\nconnection: close\r\n" + token + length + hidden)
    assert answer.startswith(b"HTTP/1.1 200 ")
    await world.ask("GET", "/v1/parcels/on-the-way")
    assert [path for _, path, *_ in world.seen] == [b"/v1/parcels/on-the-way"] * 2


async def test_a_body_that_is_cut_off_reaches_nobody(world):
    for sent in (command(world, b"x" * 100)[:-1], head(world, b"POST /v1/parcels/p-1/send HTTP/1.1\r\n", CHUNKED)):
        _, writer = await asyncio.open_connection("127.0.0.1", world.settings.api_port, ssl=world.trust)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await world.ask("GET", "/v1/parcels/on-the-way")).status == 200
    assert world.write.seen == []


async def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(world, monkeypatch):
    monkeypatch.setattr("gateway.proxy.BODY_SECONDS", 0.2)
    answer = await world.raw(command(world, b"x" * 100, b"content-type: application/json\r\n")[:-1])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/request-timeout" in answer
    assert world.seen == []


async def test_the_access_log_names_who_asked(world, capfd):
    await world.ask("GET", "/v1/parcels/on-the-way", headers={**world.bearer(sub="ann-1"), "x-request-id": "r-ann"})
    world.app.access.flush()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["http"]["request"]["id"] == "r-ann"]
    assert (line["user"]["id"], line["service"]["name"]) == ("ann-1", "gateway")


async def test_a_large_answer_comes_back_whole(world):
    content = json.dumps(["x" * 100] * 50_000).encode()
    world.read.answers.append(Response(content, media_type="application/json"))
    answer = await world.ask("GET", "/v1/parcels/on-the-way")
    assert answer.body == content


async def test_what_can_be_asked_is_listed_and_described(world):
    listed = json.loads((await world.ask("GET", "/v1")).body)
    assert listed == {"domains": {"parcels": {"commands": ["send"], "views": ["on-the-way"]}}}
    described = json.loads((await world.ask("GET", "/openapi.json")).body)
    assert set(described["paths"]) == {
        "/v1/parcels/{id}/send",
        "/v1/parcels/{id}/events",
        "/v1/parcels/on-the-way",
        "/v1/parcels/on-the-way/{key}",
        "/v1/parcels/on-the-way/stream",
        "/v1/operations/{id}",
        "/v1/operations/{id}/stream",
    }
    assert set(described["components"]["schemas"]["parcels.v1.SendParcel"]["properties"]) == {"weight"}


async def test_the_type_of_a_problem_leads_to_a_page(world):
    problem = json.loads((await world.ask("GET", "/v1/parcels/unknown", headers={"x-request-id": "r-1"})).body)
    assert (problem["request_id"], problem["instance"]) == ("r-1", "/v1/parcels/unknown")
    page = await world.ask("GET", problem["type"])
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert problem["title"] in page.body.decode()
    assert (await world.ask("GET", "/problems/unknown")).status == 404


def get(world, *headers):
    return head(world, b"GET /v1/parcels/on-the-way HTTP/1.1\r\n", *headers) + b"\r\n"


def command(world, body, *headers):
    length = b"content-length: %d\r\n" % len(body)
    return head(world, b"POST /v1/parcels/p-1/send HTTP/1.1\r\n", length, *headers) + b"\r\n" + body


def head(world, line, *headers):
    known = (b"host: x\r\n", b"connection: close\r\n", f"authorization: Bearer {world.token()}\r\n".encode())
    return b"".join((line, *known, *headers))
