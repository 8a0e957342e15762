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
    """How much may wait, how much goes into one batch, and how long an outcome is looked for.

    There are so many `lanes`: while the server works on one lane's batch, the next is made. From `shared_from` commands
    that wait, an idle lane leaves the others their share, and half as many are enough to begin beside a busy one;
    smaller batches cost more than the overlap gains.
    """

    waiting: int = 4096
    waiting_bytes: int = 64 * 1024 * 1024
    batch: int = 512
    lanes: int = 2
    shared_from: int = 48
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
    claims: Sequence[object]
    attempts: int = 0
    first_sent: float = field(default=0.0)


@dataclass(eq=False, slots=True)
class Lane:
    """One session after the other, and the commands whose outcome on them is not known."""

    unsettled: list[Waiting] = field(default_factory=list)
    lost: list[Backend] = field(default_factory=list)
    down: str | None = None
    busy: bool = False


class GroupCommitter:
    """Appends commands over a session or more, and keeps them open.

    No command is acknowledged before it is committed, none is written twice, and none is left without an answer:
    when a connection breaks, the lost session is fenced and each command that it had sent is looked for.
    What a command claims no other one may have before it is answered, so what belongs together stays in order.
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
        self._lanes = [Lane() for _ in range(self._limits.lanes)]
        self._claimed: set[object] = set()
        self._arrived = asyncio.Event()
        self._closing = False
        self._batch_seconds = 0.001
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many commands wait for a batch."""
        return len(self._waiting)

    @property
    def down(self) -> str | None:
        """Why nothing can be appended now, or None."""
        reasons = [lane.down for lane in self._lanes]
        return None if None in reasons else reasons[0]

    async def open(self) -> None:
        """Connect, or go on trying in the background."""
        sessions = [await self._try_to_connect(lane) for lane in self._lanes]
        for lane, session in zip(self._lanes, sessions, strict=True):
            self._tasks.add(asyncio.create_task(self._run(lane, session), name="group committer"))

    async def close(self, seconds: float = 5.0) -> None:
        """Commit what waits, within `seconds`; what is left over then is refused."""
        self._closing = True
        self._arrived.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            for task in self._tasks:
                with suppress(asyncio.CancelledError):
                    await task
        self._refuse_waiting(StoreUnavailable("the store is closed"))
        for lane in self._lanes:
            self._settle_as_unknown(lane, lane.unsettled)

    async def append(self, command: Command) -> Appended:
        """Record a command. Raises what the port of the store names."""
        answer = await self.submit(command)
        if isinstance(answer, EventStoreError):
            raise answer
        return answer

    def submit(self, command: Command) -> asyncio.Future[Answer]:
        """The answer to come. Raises `StoreBusy` or `StoreUnavailable` at once."""
        if self._closing or not self._tasks:
            raise StoreUnavailable("the store is closed")
        if (down := self.down) is not None:
            raise StoreUnavailable(down)
        size = command.size
        if len(self._waiting) >= self._limits.waiting or self._bytes + size > self._limits.waiting_bytes:
            batches = 1 + len(self._waiting) / self._limits.batch
            raise StoreBusy(max(0.05, batches * self._batch_seconds))
        waiting = Waiting(command, asyncio.get_running_loop().create_future(), size, command.claims)
        self._waiting.append(waiting)
        self._bytes += size
        if self._enough():
            self._arrived.set()
        return waiting.answer

    async def _run(self, lane: Lane, session: Session | None) -> None:
        while session := session or await self._reconnect(lane):
            try:
                await self._settle(lane, session)
                while batch := await self._next_batch(lane):
                    await self._commit(lane, session, batch)
                return
            except Exception as error:
                if not isinstance(error, ConnectionLost):
                    log.exception("a batch failed in an unforeseen way; its outcome is looked for")
                lane.lost.append(session.backend)
                lane.busy = False
                self._arrived.set()
                self._give_up_overdue(lane)
                await asyncio.sleep(self._limits.retry_seconds[0])
            finally:
                await session.close()
            session = None

    async def _try_to_connect(self, lane: Lane) -> Session | None:
        try:
            session = await self._connect()
        except StoreUnavailable as error:
            lane.down = str(error)
            return None
        lane.down = None
        return session

    async def _reconnect(self, lane: Lane) -> Session | None:
        """A new session. While no lane has one, whoever waits is told so; what was sent waits for its outcome."""
        pause, longest = self._limits.retry_seconds
        while (session := await self._try_to_connect(lane)) is None:
            if (down := self.down) is not None:
                self._refuse_waiting(StoreUnavailable(down))
            self._give_up_overdue(lane)
            if self._closing and not lane.unsettled:
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        return session

    def _give_up_overdue(self, lane: Lane) -> None:
        oldest = monotonic() - self._limits.settle_seconds
        self._settle_as_unknown(lane, [waiting for waiting in lane.unsettled if waiting.first_sent < oldest])

    async def _settle(self, lane: Lane, session: Session) -> None:
        """Find out what became of the commands that lost sessions had sent."""
        while lane.lost:
            if not await session.fence(lane.lost[-1]):
                raise ConnectionLost("a lost session is still at work")
            lane.lost.pop()
        for waiting in reversed(list(lane.unsettled)):
            answer = await session.outcome(waiting.command)
            lane.unsettled.remove(waiting)
            if answer is not None:
                self._resolve(waiting, answer)
            else:
                self._try_again(waiting, StoreUnavailable("the connection broke again and again"))

    async def _next_batch(self, lane: Lane) -> list[Waiting]:
        """What waits, oldest first, no claim twice; empty when closing and nothing is left that no other lane takes."""
        lane.busy = False
        while True:
            await asyncio.sleep(0)  # lets the callers of the last batch send their next commands
            if self._enough() and (batch := self._take()):
                lane.busy = True
                return batch
            if self._closing:
                return []
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        deferred: list[Waiting] = []
        ahead: set[object] = set()  # what those claim that are passed over: nobody overtakes them
        size, most = 0, self._share()
        while self._waiting and len(batch) < most and size < self._limits.batch_bytes:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                self._bytes -= waiting.size
                continue
            alone = waiting.command.condition is not None
            if alone and batch:
                self._waiting.appendleft(waiting)
                break
            if self._claimed.isdisjoint(waiting.claims) and ahead.isdisjoint(waiting.claims):
                batch.append(waiting)
                self._claimed.update(waiting.claims)
                size += waiting.size
            else:
                deferred.append(waiting)
                ahead.update(waiting.claims)
            if alone and batch:
                break
        self._waiting.extendleft(reversed(deferred))
        self._bytes -= size
        return batch

    def _enough(self) -> bool:
        """Whether what waits is worth a batch now: beside a busy lane, little waits for the end of its batch."""
        return len(self._waiting) >= self._limits.shared_from // 2 or not any(lane.busy for lane in self._lanes)

    def _share(self) -> int:
        """How many commands a batch may have now."""
        count, idle = len(self._waiting), sum(not lane.busy and lane.down is None for lane in self._lanes)
        if count < self._limits.shared_from:
            return self._limits.batch
        return min(self._limits.batch, -(-count // max(1, idle)))

    async def _commit(self, lane: Lane, session: Session, batch: Sequence[Waiting]) -> None:
        began = monotonic()
        for waiting in batch:
            waiting.first_sent = waiting.first_sent or began
            waiting.attempts += 1
        try:
            answers = await session.append([waiting.command for waiting in batch])
        except RolledBack as refusal:
            await self._divide(lane, session, batch, refusal)
            return
        except NotSent:
            self._put_back(batch)
            raise
        except BaseException:
            lane.unsettled += batch
            raise
        self._batch_seconds += 0.1 * (monotonic() - began - self._batch_seconds)
        for waiting, answer in zip(batch, answers, strict=True):
            self._resolve(waiting, answer)

    async def _divide(self, lane: Lane, session: Session, batch: Sequence[Waiting], refusal: RolledBack) -> None:
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
                await self._commit(lane, session, batch[:half])
            except BaseException:
                self._put_back(second)
                raise
            await self._commit(lane, session, second)

    def _try_again(self, waiting: Waiting, error: EventStoreError) -> None:
        overdue = waiting.first_sent < monotonic() - self._limits.settle_seconds
        if overdue or waiting.attempts >= self._limits.attempts:
            self._resolve(waiting, error)
        else:
            self._put_back([waiting])

    def _put_back(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            self._claimed.difference_update(waiting.claims)
        self._waiting.extendleft(reversed(batch))
        self._bytes += sum(waiting.size for waiting in batch)
        self._arrived.set()

    def _resolve(self, waiting: Waiting, answer: Answer) -> None:
        self._claimed.difference_update(waiting.claims)
        if isinstance(answer, Appended) and answer.position:
            self._on_commit(answer.position)
        if not waiting.answer.done():
            waiting.answer.set_result(answer)

    def _refuse_waiting(self, error: StoreUnavailable) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                waiting.answer.set_result(error)
        self._bytes = 0

    def _settle_as_unknown(self, lane: Lane, unsettled: Sequence[Waiting]) -> None:
        for waiting in list(unsettled):
            lane.unsettled.remove(waiting)
            self._resolve(waiting, OutcomeUnknown("the connection broke at the commit"))
