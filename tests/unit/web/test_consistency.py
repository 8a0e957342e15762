"""The consistency token: what was encoded comes back, and nothing else is taken for one."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.consistency import LIMIT, MOST, VERSION, ConsistencyToken, checksum, decode, decode_all, encode

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(names, names, st.integers(0, LIMIT - 1))
def test_what_was_encoded_comes_back(domain, stream, position):
    token = encode(domain, stream, position)
    assert decode(token) == ConsistencyToken(domain, stream, position)
    assert token.isascii()
    assert not set(token) & set("+/= ,;\"'")


@given(names, st.integers(0, 200), st.characters(exclude_categories=["Cs"]))
def test_a_changed_token_is_refused(stream, place, other):
    token = encode("orders", stream, 7)
    place %= len(token)
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(ValueError, match=r".*"):
            decode(changed)


@given(st.text())
def test_foreign_text_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        decode(text)


def forged(content: bytes, version: bytes = VERSION) -> str:
    return urlsafe_b64encode(checksum(version + content) + version + content).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        forged(b'["orders","orders-1",7]', b"\x02"),
        forged(b'["orders","orders-1",-1]'),
        forged(b'["orders","orders-1",9223372036854775808]'),
        forged(b'["orders","orders-1",true]'),
        forged(b'["orders","orders-1",7.0]'),
        forged(b'["orders","orders-1","7"]'),
        forged(b'["orders", "orders-1",7]'),
        forged(b'["orders","orders-1"]'),
        forged(b'{"domain":"orders"}'),
        forged(b'["orders","\\ud800",7]'),
        forged(b"[" * 700),
        forged(b"\xff"),
        forged(b""),
        encode("orders", "orders-1", 7) + "=",
        encode("orders", "orders-1", 7) + "\n",
        "A" * 1025,
    ],
)
def test_a_forged_token_is_refused(token):
    with pytest.raises(ValueError, match=r".*"):
        decode(token)


def test_a_header_holds_tokens_of_several_writes_and_domains():
    writes = [("orders", "orders-1", 7), ("orders", "orders-2", 9), ("stock", "stock-1", 3)]
    for joint in (",", ", ", " ,\t"):
        assert decode_all(joint.join(encode(*write) for write in writes)) == [ConsistencyToken(*one) for one in writes]


@pytest.mark.parametrize("given", ["", ",", encode("a", "b", 1) + ",", f"x,{encode('a', 'b', 1)}"])
def test_one_foreign_token_among_several_is_refused(given):
    with pytest.raises(ValueError, match=r".*"):
        decode_all(given)


def test_tokens_are_bounded_in_number():
    token = encode("orders", "orders-1", 7)
    assert len(decode_all(",".join([token] * MOST))) == MOST
    with pytest.raises(ValueError, match="more than 64"):
        decode_all(",".join([token] * (MOST + 1)))
