"""The group committer for callers in threads: all of them share one transaction, and one fsync, at a time."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread

import uvloop

from eventstore.batch import Answer, Command
from eventstore.committer import GroupCommitter
from eventstore.errors import EventStoreError, StoreUnavailable
from eventstore.records import Appended
from eventstore.session import PostgresSession


class ThreadedCommitter:
    """Runs a group committer in a thread of its own, which starts with the first command."""

    def __init__(self, conninfo: Callable[[], str]) -> None:
        self._conninfo = conninfo
        self._lock = Lock()
        self._handed: deque[tuple[Command, Future[Answer]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committer: GroupCommitter | None = None
        self._closed = False

    def append(self, command: Command) -> Appended:
        """Record a command; returns, or raises, when that is settled."""
        answer: Future[Answer] = Future()
        with self._lock:
            loop = self._started()
            self._handed.append((command, answer))
            if len(self._handed) == 1:
                loop.call_soon_threadsafe(self._submit)
        settled = answer.result()
        if isinstance(settled, EventStoreError):
            raise settled
        return settled

    def close(self) -> None:
        """Commit what waits and end the thread. A closed committer refuses."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None and self._committer is not None:
            asyncio.run_coroutine_threadsafe(self._committer.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._loop is None:
            self._loop = uvloop.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="group committer", daemon=True)
            self._thread.start()
            self._committer = GroupCommitter(self._connect)
            asyncio.run_coroutine_threadsafe(self._committer.open(), self._loop).result()
        return self._loop

    async def _connect(self) -> PostgresSession:
        try:
            conninfo = self._conninfo()
        except Exception as error:
            # The application's own code fetches a password: what fails there now may succeed the next time.
            raise StoreUnavailable(f"there is no password to connect with: {type(error).__name__}: {error}") from error
        return await PostgresSession.connect(conninfo)

    def _submit(self) -> None:
        """In the committer's thread: take over what the others have handed in."""
        with self._lock:
            handed = list(self._handed)
            self._handed.clear()
        for command, answer in handed:
            self._submit_one(command, answer)

    def _submit_one(self, command: Command, answer: Future[Answer]) -> None:
        try:
            if self._committer is None:
                raise StoreUnavailable("the store is closed")
            coming = self._committer.submit(command)
        except EventStoreError as error:
            answer.set_result(error)
        else:
            coming.add_done_callback(lambda done: answer.set_result(done.result()))
