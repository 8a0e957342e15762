"""Live queries: the changes of a view as server-sent events, that go on where they broke off."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

import orjson
from fastapi import Request, Response

from domains.kernel import Domain, Row
from domains.opening import bodies
from eventstore.errors import KeyMissing, SealBroken, StoreUnavailable
from eventstore.personal.keys import Keys
from infra.settings import Settings
from infra.web import Problem
from infra.web.events import HEARTBEAT_SECONDS, RETRY, EventStream
from projections.errors import Overtaken, ReadUnavailable
from projections.paging import Place
from projections.rows import AnyView
from projections.serving import asking
from projections.serving.tail import LOOKBACK, Change, Log, Offsets, Tail, Tails
from projections.serving.telling import REMEMBERED, Told, Wanted, cursor_of, encoded, expired, fits, heartbeat
from projections.serving.views import Views

STREAMS = 1000
CATCHING_UP = 4
TURN_SECONDS = 20.0  # longer than between two heartbeats: who has nothing to tell goes on from one of them
PAGE = 500
WAIT_SECONDS = 5.0
ENDS = (Overtaken, ReadUnavailable, StoreUnavailable, KeyMissing, SealBroken)


class Live:
    """The streams of one process. Each view's changes are read once, from the first stream on."""

    def __init__(self, settings: Settings, domain: Domain, views: Views, keys: Keys | None) -> None:
        self._domain, self._views, self._keys = domain, views, keys
        self._tails = Tails(settings, domain)
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._open = self._waiting = 0

    async def close(self) -> None:
        await self._tails.close()

    def wanted(self, request: Request, view: AnyView) -> Wanted:
        asking.only(request, ("key", "snapshot", *view.filters))
        key, filters = request.query_params.get("key"), asking.equal(request, view)
        if key is not None and filters:
            raise Problem(422, "invalid-parameter", "a stream is of a key or of filters, not of both")
        snapshot = request.query_params.get("snapshot", "false")
        if snapshot not in ("true", "false"):
            raise Problem(422, "invalid-parameter", "snapshot is true or false")
        given = request.headers.get("last-event-id")
        cursor = None if not given else cursor_of(self._domain, view, given)
        return Wanted(None if key is None else asking.key(key), filters, snapshot == "true", cursor)

    async def answer(self, view: AnyView, wanted: Wanted, headers: Mapping[str, str]) -> Response:
        """Raises `ReadUnavailable`."""
        if self._open >= STREAMS:
            wait = {"retry-after": "5"}
            raise Problem(503, "temporary-reduced-capacity", "too many streams are open", headers=wait)
        self._open += 1
        try:
            tail = await self._tails.of(view)
            if wanted.cursor is not None:
                await self._check(view, tail, wanted.cursor)
        except BaseException:
            self._closed()
            raise
        return EventStream(self._events(view, tail, wanted), dict(headers), self._closed)

    def _closed(self) -> None:
        self._open -= 1

    async def _check(self, view: AnyView, tail: Tail, cursor: Offsets) -> None:
        """Refuses a cursor from the future: the topic is not the one that it was."""
        if any(offset > high for offset, high in zip(cursor, tail.high, strict=True)):
            reading = self._tails.log(view)
            try:
                _, ends = await reading.ends()
            finally:
                await reading.close()
            if any(offset > end for offset, end in zip(cursor, ends, strict=True)):
                raise expired()

    async def _events(self, view: AnyView, tail: Tail, wanted: Wanted) -> AsyncGenerator[bytes, None]:
        told = Told(view, wanted)
        resumed = wanted.cursor is not None
        cursor = list(wanted.cursor or tail.high)
        yield RETRY
        if not resumed:
            # A row may change meanwhile: what it becomes stands behind the cursor, and is told after it.
            async for row in self._rows(view, wanted):
                value = row.model_dump_json().encode() if wanted.snapshot else None
                told.is_there(row, value)
                if value is not None:
                    yield b"event: row\ndata: " + await self._opened(view, wanted, value) + b"\n\n"
        yield heartbeat(view, cursor)
        beat = time.monotonic() + HEARTBEAT_SECONDS
        with suppress(*ENDS):
            async with aclosing(self._changes(view, tail, list(cursor))) as pages:
                async for changes in pages:
                    if time.time() > wanted.until:
                        return
                    parts = [part async for part in self._tell(view, wanted, told, changes, cursor)]
                    if parts:
                        yield b"".join(parts)
                    elif time.monotonic() >= beat:
                        yield heartbeat(view, cursor)
                    else:
                        continue
                    beat = time.monotonic() + HEARTBEAT_SECONDS

    async def _tell(
        self, view: AnyView, wanted: Wanted, told: Told, changes: Sequence[Change], cursor: Offsets
    ) -> AsyncIterator[bytes]:
        """The events of a page; the cursor moves with them."""
        for change in changes:
            if change.offset >= cursor[change.partition]:
                cursor[change.partition] = change.offset + 1
                if (kind := told.tell(change)) is not None:
                    gone = orjson.dumps({view.key: change.key})
                    data = (
                        gone
                        if change.value is None or kind == "removed"
                        else await self._opened(view, wanted, change.value)
                    )
                    here = encoded(view, cursor).encode()
                    yield b"event: " + kind.encode() + b"\ndata: " + data + b"\nid: " + here + b"\n\n"
            elif wanted.cursor is not None:
                told.tell(change)  # it was told before the stream broke off

    async def _opened(self, view: AnyView, wanted: Wanted, value: bytes) -> bytes:
        """The row as an answer has it: in its version, with what is sealed about a person opened."""
        [body] = await bodies([wanted.shown(view.row.model_validate_json(value))], self._keys)
        return body

    async def _rows(self, view: AnyView, wanted: Wanted) -> AsyncIterator[Row]:
        """The rows that a stream begins with. Those of a filter are counted, but not beyond what is remembered."""
        if wanted.key is not None:
            row = await self._views.one(view, wanted.key)
            if row is not None and fits(row, wanted.filters):
                yield row
            return
        place, count = Place(), 0
        while (wanted.snapshot or wanted.filters) and (wanted.snapshot or count <= REMEMBERED):
            page = await self._views.page(view, wanted.filters, place, PAGE)
            for row in page:
                yield row
            if len(page) < PAGE:
                return
            place, count = replace(place, key=getattr(page[-1], view.key)), count + PAGE

    async def _changes(self, view: AnyView, tail: Tail, cursor: Offsets) -> AsyncGenerator[Sequence[Change], None]:
        """Changes from a cursor on, and some before it; none, when nothing has come for a while."""
        if tail.covers(cursor):
            number = tail.end if cursor == tail.high else tail.first
        else:
            while not await self._turn():
                yield ()
            async with self._caught_up(view, cursor) as reading:
                ends = time.monotonic() + TURN_SECONDS
                while not tail.covers(reading.next):
                    yield await reading.page()
                    if self._waiting and time.monotonic() >= ends:
                        raise Overtaken  # a client that takes little at a time would keep the turn of others
                # Before anything is waited for: what the tail lets go of from now on is noticed by this number.
                number = tail.end if reading.next == tail.high else tail.first
        while True:
            changes, number = await tail.after(number, WAIT_SECONDS)
            yield changes

    async def _turn(self) -> bool:
        """Whether this stream may catch up, as soon as it may or a moment has passed."""
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await self._catching_up.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def _caught_up(self, view: AnyView, cursor: Offsets) -> AsyncIterator[Log]:
        """For who has the turn, which ends with it."""
        try:
            reading = self._tails.log(view)
            try:
                begins, _ = await reading.ends()
                await reading.begin(
                    [max(begin, offset - LOOKBACK) for begin, offset in zip(begins, cursor, strict=True)]
                )
                yield reading
            finally:
                await reading.close()
        finally:
            self._catching_up.release()
