"""Request ids and W3C trace context: what ties a request, its events, its records and its log lines together."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits
from typing import NamedTuple

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
SAMPLED = "01"
ID_BYTES, STOCKED = 40, 64
STOCK: list[str] = []
os.register_at_fork(after_in_child=STOCK.clear)  # or two processes would use the same


class RequestContext(NamedTuple):
    """The request that is being answered; `traceparent` names our own span of it.

    `deadline`, in the loop's time, is when its caller gives up, if he has said so.
    """

    request_id: str
    traceparent: str
    deadline: float | None = None

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        return self.traceparent[36:52]


CONTEXT: ContextVar[RequestContext | None] = ContextVar("request", default=None)


def current() -> RequestContext:
    """The context of the request that is being answered, or a new one outside of any."""
    return CONTEXT.get() or begin(None, None)


@contextmanager
def about(request_id: str | None, traceparent: str | None) -> Iterator[None]:
    """A block whose log lines name the request that caused what they tell of."""
    before = CONTEXT.set(RequestContext(request_id, traceparent) if request_id and traceparent else None)
    try:
        yield
    finally:
        CONTEXT.reset(before)


def begin(request_id: str | None, traceparent: str | None, deadline: float | None = None) -> RequestContext:
    """The context of a new request. What a client sent is taken over only if it is well-formed."""
    try:
        ids = STOCK.pop()
    except IndexError:
        ids = stocked()
    if request_id is None or REQUEST_ID.fullmatch(request_id) is None:
        request_id = ids[48:]
    span = child(traceparent, ids) if traceparent else f"00-{ids[:32]}-{ids[32:48]}-{SAMPLED}"
    return RequestContext(request_id, span, deadline)


def stocked() -> str:
    """Ids for one request. They are drawn for many at once, which takes a tenth of the time."""
    text = drawn(ID_BYTES * STOCKED)
    first, *others = [text[place : place + 2 * ID_BYTES] for place in range(0, len(text), 2 * ID_BYTES)]
    STOCK.extend(others)
    return first


def child(traceparent: str | None, ids: str = "") -> str:
    """A new span in the trace of `traceparent`, or in a new trace if that is missing or malformed.

    Of `ids`, 48 hexadecimal digits, it is made; without them it draws its own.
    """
    ids = ids or drawn(24)
    parent = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if parent is None or (parent["version"] == "00" and parent["more"]):
        return f"00-{ids[:32]}-{ids[32:48]}-{SAMPLED}"
    return f"00-{parent['trace']}-{ids[32:48]}-{parent['flags']}"


def drawn(count: int) -> str:
    """So many bytes at random, of which nobody must be unable to guess the next."""
    return getrandbits(8 * count).to_bytes(count).hex()
