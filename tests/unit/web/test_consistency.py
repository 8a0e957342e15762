"""The consistency token: what was encoded comes back, and nothing else is taken for one."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.consistency import LIMIT, VERSION, ConsistencyToken, checksum, decode, encode

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
