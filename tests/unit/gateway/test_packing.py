"""What is packed, and for whom."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.packing import Packer, packed, takes_gzip

JSON = (b"content-type", b"application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("GZIP ; q=1.0 , br", True),
        ("*", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("x-gzip", False),
        ("identity", False),
        ("*;q=0.5, gzip;q=0", False),
        ("*;q=0, gzip", True),
        ("*;q=0", False),
    ],
)
def test_only_who_takes_it_gets_it(accepted, taken):
    assert takes_gzip([(b"accept-encoding", accepted.encode())]) == taken


@given(st.binary(max_size=40), st.integers(0, 80))
def test_what_was_packed_comes_out(piece, times):
    body = piece * times
    headers, small = packed([JSON, (b"etag", b'"4"')], body)
    if (b"content-encoding", b"gzip") in headers:
        assert (gzip.decompress(small), dict(headers)[b"etag"]) == (body, b'W/"4"')
    else:
        assert (small, len(body) < 1024, dict(headers)[b"etag"]) == (body, True, b'W/"4"')


@given(st.lists(st.binary(max_size=5000)))
def test_what_was_packed_in_parts_comes_out_whole(parts):
    packer = Packer()
    small = b"".join([*map(packer.some, parts), packer.end()])
    assert gzip.decompress(small) == b"".join(parts)


def test_a_stream_of_events_is_not_packed():
    headers = [(b"content-type", b"text/event-stream")]
    assert packed(headers, b"x" * 5000) == (headers, b"x" * 5000)


def test_what_nobody_may_transform_is_not_packed():
    headers = [JSON, (b"etag", b'"4"'), (b"cache-control", b"private, no-cache, no-transform")]
    assert packed(headers, b"x" * 5000) == (headers, b"x" * 5000)
