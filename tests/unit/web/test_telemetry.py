"""What a client sends as ids is taken over only in a safe form."""

import os

import pytest

from infra import telemetry
from infra.telemetry import CONTEXT, begin, child, current

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("sent", ["a", "536365", "A.b_c-9", "x" * 64])
def test_a_safe_request_id_is_taken_over(sent):
    assert begin(sent, None).request_id == sent


@pytest.mark.parametrize(
    "sent", [None, "", "x" * 65, "a b", "a\nb", "a\r\nset-cookie: x", "a\x00", '"', "<b>", "ä", "a;b", "a\n"]
)
def test_an_unsafe_request_id_is_replaced(sent):
    made = begin(sent, None).request_id
    assert made != sent
    assert telemetry.REQUEST_ID.fullmatch(made)


def test_made_request_ids_differ():
    assert len({begin(None, None).request_id for _ in range(100)}) == 100


def test_a_process_that_is_forked_does_not_make_the_ids_that_its_parent_makes():
    begin(None, None)  # some are drawn that wait
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.write(tell, begin(None, None).request_id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(told, 100).decode() not in {begin(None, None).request_id for _ in range(telemetry.STOCKED)}
    os.close(told)
    os.close(tell)


def test_a_trace_is_continued_as_a_new_span():
    ours = child(PARENT)
    assert telemetry.TRACEPARENT.fullmatch(ours)
    assert ours.startswith(f"00-{TRACE}-")
    assert SPAN not in ours


def test_the_decision_to_sample_is_kept():
    assert child(f"00-{TRACE}-{SPAN}-00").endswith("-00")


def test_a_later_version_of_the_format_is_continued():
    assert child(f"01-{TRACE}-{SPAN}-01-more").startswith(f"00-{TRACE}-")


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "garbage",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"{PARENT}-more",
        f"{PARENT}\n",
        f" {PARENT}",
    ],
)
def test_a_malformed_trace_is_replaced(sent):
    ours = child(sent)
    assert telemetry.TRACEPARENT.fullmatch(ours)
    assert TRACE not in ours.lower()


def test_the_ids_are_those_of_our_span():
    context = begin("a", PARENT)
    assert (context.trace_id, context.span_id) == (TRACE, context.traceparent.split("-")[2])


def test_outside_of_a_request_there_is_a_context_all_the_same():
    assert CONTEXT.get() is None
    assert telemetry.TRACEPARENT.fullmatch(current().traceparent)
