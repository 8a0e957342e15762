"""Requests that offer to go on in another protocol."""

import pytest

from tests.unit.infra.test_protocol import Answering, Wire, connected, statuses

OFFER = b"host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n"


@pytest.mark.parametrize("size", [1, 90, 10_000])
async def test_who_offers_another_protocol_is_answered_in_this_one_and_nothing_is_logged(caplog, size):
    class Heard(Answering):
        async def __call__(self, scope, receive, send):
            heard.append(scope["raw_path"] + (await receive())["body"])
            await super().__call__(scope, receive, send)

    caplog.set_level("DEBUG")
    heard, wire = [], Wire()
    protocol = connected(wire, Heard(lambda: None))
    body = (
        b"POST /2 HTTP/1.1\r\n" + OFFER + b"content-length: 41\r\n\r\nGET /stolen HTTP/1.1\r\nconnection: x\r\n\r\n12"
    )
    last = b"GET /3 HTTP/1.1\r\n" + OFFER.replace(b"upgrade, ", b"close, upgrade, ") + b"\r\n"
    asked = b"GET /1 HTTP/1.1\r\n" + OFFER + b"\r\n" + body + last
    for start in range(0, len(asked), size):
        protocol.data_received(asked[start : start + size])
    assert await statuses(wire) == [b"200"] * 3
    assert heard == [b"/1", b"/2" + body[-41:], b"/3"]
    assert caplog.messages == []
