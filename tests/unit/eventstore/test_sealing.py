"""A text about a person opens where it was sealed, under the key of its subject, and nowhere else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import SealBroken
from eventstore.personal.sealing import NOBODY, DataKey, Sealed, blank

ANN = 'Änn "Example", 1 Mill Lane'
PLACE = ("orders-1:2", 7, "recipient")
KEY = DataKey.generate()


def sealed(text=ANN):
    return Sealed.parsed(KEY.seal(text, *PLACE))


@given(st.text(), st.text(min_size=1), st.integers(1, 2**62))
def test_what_was_sealed_opens_again(text, stream, version):
    found = Sealed.parsed(KEY.seal(text, stream, version, "recipient"))
    assert (KEY.open(found), found.stream, found.version) == (text, stream, version)


def test_the_same_text_is_sealed_otherwise_each_time_and_shows_nothing_of_it():
    first, second = KEY.seal(ANN, *PLACE), KEY.seal(ANN, *PLACE)
    assert first != second
    assert "Mill" not in first
    assert first.isascii()


@pytest.mark.parametrize(
    "moved",
    [{"stream": "orders-2"}, {"version": 8}, {"field": "address"}, {"key": NOBODY}],
    ids=str,
)
def test_what_was_moved_does_not_open(moved):
    # The wrong key id stands for a text that was put under another subject's name: the cipher still has our key.
    other = DataKey(NOBODY, KEY.secret) if "key" in moved else KEY
    with pytest.raises(SealBroken):
        other.open(replace(sealed(), **moved))


def test_another_key_does_not_open_it():
    with pytest.raises(SealBroken):
        DataKey.generate().open(sealed())


@pytest.mark.parametrize("cut", [0, 1, 12, 20, -1])
def test_what_was_cut_off_does_not_open(cut):
    whole = sealed()
    with pytest.raises(SealBroken):
        KEY.open(replace(whole, box=whole.box[:cut]))


def test_every_changed_bit_is_noticed():
    whole = sealed()
    for place in range(len(whole.box)):
        changed = bytes([*whole.box[:place], whole.box[place] ^ 1, *whole.box[place + 1 :]])
        with pytest.raises(SealBroken):
            KEY.open(replace(whole, box=changed))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ANN,
        "sealed:v1:",
        "sealed:v2:" + sealed().text.removeprefix("sealed:v1:"),
        sealed().text.replace("sealed:v1:", "sealed:v1: ", 1),
        sealed().text.replace(":7:", ":07:"),
        sealed().text.upper(),
    ],
)
def test_what_is_no_sealed_text_is_refused(text):
    with pytest.raises(SealBroken):
        Sealed.parsed(text)


def test_texts_are_compared_by_who_holds_the_key_only():
    assert KEY.matches(sealed().text, ANN)
    assert not KEY.matches(sealed().text, ANN + " ")
    assert not DataKey.generate().matches(sealed().text, ANN)


def test_a_fingerprint_depends_on_the_key():
    assert KEY.fingerprint(b"body") == KEY.fingerprint(b"body") != KEY.fingerprint(b"bodz")
    assert DataKey.generate().fingerprint(b"body") != KEY.fingerprint(b"body")


def test_a_blank_one_has_a_place_and_nothing_in_it():
    found = Sealed.parsed(blank("orders-1", 3, "recipient"))
    assert (found.key, found.box, found.stream, found.version) == (NOBODY, b"", "orders-1", 3)
