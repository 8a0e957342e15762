"""The group committer: whatever waits goes into one transaction and one fsync."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from eventstore.batch import Answer, Command
from eventstore.errors import EventStoreError, OutcomeUnknown, StoreBusy, StoreUnavailable
from eventstore.records import Appended
from eventstore.session import Backend, ConnectionLost, NotSent, RolledBack, Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, how much goes into one batch, and how long an outcome is looked for."""

    waiting: int = 4096
    waiting_bytes: int = 64 * 1024 * 1024
    batch: int = 512
    batch_bytes: int = 4 * 1024 * 1024
    settle_seconds: float = 15.0
    retry_seconds: tuple[float, float] = (0.02, 0.5)
    attempts: int = 5


@dataclass(eq=False, slots=True)
class Waiting:
    """A command whose caller waits for the answer."""

    command: Command
    answer: asyncio.Future[Answer]
    size: int
    attempts: int = 0
    sent_at: float = field(default=0.0)


class GroupCommitter:
    """Appends commands over one session and keeps a session open.

    No command is acknowledged before it is committed, none is written twice, and none is left without an answer:
    when a connection breaks, the lost session is fenced and each command that it had sent is looked for.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Session]],
        limits: Limits | None = None,
        on_commit: Callable[[int], object] = id,
    ) -> None:
        self._connect, self._limits, self._on_commit = connect, limits or Limits(), on_commit
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._unsettled: list[Waiting] = []
        self._lost: list[Backend] = []
        self._arrived = asyncio.Event()
        self._down: str | None = None
        self._closing = False
        self._batch_seconds = 0.001
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many commands wait for a batch."""
        return len(self._waiting)

    @property
    def down(self) -> str | None:
        """Why nothing can be appended now, or None."""
        return self._down

    async def open(self) -> None:
        """Connect, or go on trying in the background."""
        session = await self._try_to_connect()
        self._task = asyncio.create_task(self._run(session), name="group committer")

    async def close(self, seconds: float = 5.0) -> None:
        """Commit what waits, within `seconds`; what is left over then is refused."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=seconds)
            if not done:
                self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._refuse_waiting(StoreUnavailable("the store is closed"))
        self._settle_as_unknown(self._unsettled)

    async def append(self, command: Command) -> Appended:
        """Record a command. Raises what the port of the store names."""
        answer = await self.submit(command)
        if isinstance(answer, EventStoreError):
            raise answer
        return answer

    def submit(self, command: Command) -> asyncio.Future[Answer]:
        """The answer to come. Raises `StoreBusy` or `StoreUnavailable` at once."""
        if self._closing or self._task is None:
            raise StoreUnavailable("the store is closed")
        if self._down is not None:
            raise StoreUnavailable(self._down)
        size = command.size
        if len(self._waiting) >= self._limits.waiting or self._bytes + size > self._limits.waiting_bytes:
            batches = 1 + len(self._waiting) / self._limits.batch
            raise StoreBusy(max(0.05, batches * self._batch_seconds))
        waiting = Waiting(command, asyncio.get_running_loop().create_future(), size)
        self._waiting.append(waiting)
        self._bytes += size
        self._arrived.set()
        return waiting.answer

    async def _run(self, session: Session | None) -> None:
        while session := session or await self._reconnect():
            try:
                await self._settle(session)
                while batch := await self._next_batch():
                    await self._commit(session, batch)
                return
            except Exception as error:
                if not isinstance(error, ConnectionLost):
                    log.exception("a batch failed in an unforeseen way; its outcome is looked for")
                self._lost.append(session.backend)
                self._give_up_overdue()
                await asyncio.sleep(self._limits.retry_seconds[0])
            finally:
                await session.close()
            session = None

    async def _try_to_connect(self) -> Session | None:
        try:
            session = await self._connect()
        except StoreUnavailable as error:
            self._down = str(error)
            return None
        self._down = None
        return session

    async def _reconnect(self) -> Session | None:
        """A new session. While there is none, whoever waits is told so; what was sent waits for its outcome."""
        pause, longest = self._limits.retry_seconds
        while (session := await self._try_to_connect()) is None:
            self._refuse_waiting(StoreUnavailable(self._down or "no connection"))
            self._give_up_overdue()
            if self._closing and not self._unsettled:
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        return session

    def _give_up_overdue(self) -> None:
        oldest = monotonic() - self._limits.settle_seconds
        self._settle_as_unknown([waiting for waiting in self._unsettled if waiting.sent_at < oldest])

    async def _settle(self, session: Session) -> None:
        """Find out what became of the commands that lost sessions had sent."""
        while self._lost:
            if not await session.fence(self._lost[-1]):
                raise ConnectionLost("a lost session is still at work")
            self._lost.pop()
        for waiting in reversed(list(self._unsettled)):
            answer = await session.outcome(waiting.command)
            self._unsettled.remove(waiting)
            if answer is not None:
                self._resolve(waiting, answer)
            else:
                self._try_again(waiting, StoreUnavailable("the connection broke again and again"))

    async def _next_batch(self) -> list[Waiting]:
        """What waits, oldest first, no stream and no key twice; empty when closing and nothing waits."""
        while True:
            await asyncio.sleep(0)  # lets the callers of the last batch send their next commands
            if batch := self._take():
                return batch
            if self._closing:
                return []
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        deferred: list[Waiting] = []
        claimed: set[object] = set()
        size = 0
        while self._waiting and len(batch) < self._limits.batch and size < self._limits.batch_bytes:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                self._bytes -= waiting.size
                continue
            if waiting.command.condition is not None and batch:
                self._waiting.appendleft(waiting)
                break
            claims = waiting.command.claims
            if claimed.isdisjoint(claims):
                batch.append(waiting)
                size += waiting.size
            else:
                deferred.append(waiting)
            claimed.update(claims)
            if waiting.command.condition is not None:
                break
        self._waiting.extendleft(reversed(deferred))
        self._bytes -= size
        return batch

    async def _commit(self, session: Session, batch: Sequence[Waiting]) -> None:
        began = monotonic()
        for waiting in batch:
            waiting.sent_at = began
            waiting.attempts += 1
        try:
            answers = await session.append([waiting.command for waiting in batch])
        except RolledBack as refusal:
            await self._divide(session, batch, refusal)
            return
        except NotSent:
            self._put_back(batch)
            raise
        except BaseException:
            self._unsettled += batch
            raise
        self._batch_seconds += 0.1 * (monotonic() - began - self._batch_seconds)
        for waiting, answer in zip(batch, answers, strict=True):
            self._resolve(waiting, answer)

    async def _divide(self, session: Session, batch: Sequence[Waiting], refusal: RolledBack) -> None:
        """Nothing of the batch was written: each half is tried alone, until the culprit is."""
        if refusal.transient:
            for waiting in reversed(batch):
                self._try_again(waiting, refusal.error)
        elif len(batch) == 1:
            self._resolve(batch[0], refusal.error)
        elif isinstance(refusal.error, StoreUnavailable):
            for waiting in batch:
                self._resolve(waiting, refusal.error)
        else:
            half = len(batch) // 2
            second = list(batch[half:])
            try:
                await self._commit(session, batch[:half])
            except BaseException:
                self._put_back(second)
                raise
            await self._commit(session, second)

    def _try_again(self, waiting: Waiting, error: EventStoreError) -> None:
        if waiting.attempts >= self._limits.attempts:
            self._resolve(waiting, error)
        else:
            self._put_back([waiting])

    def _put_back(self, batch: Sequence[Waiting]) -> None:
        self._waiting.extendleft(reversed(batch))
        self._bytes += sum(waiting.size for waiting in batch)

    def _resolve(self, waiting: Waiting, answer: Answer) -> None:
        if isinstance(answer, Appended) and answer.position:
            self._on_commit(answer.position)
        if not waiting.answer.done():
            waiting.answer.set_result(answer)

    def _refuse_waiting(self, error: StoreUnavailable) -> None:
        while self._waiting:
            self._resolve(self._waiting.popleft(), error)
        self._bytes = 0

    def _settle_as_unknown(self, unsettled: Sequence[Waiting]) -> None:
        for waiting in list(unsettled):
            self._unsettled.remove(waiting)
            self._resolve(waiting, OutcomeUnknown("the connection broke at the commit"))
