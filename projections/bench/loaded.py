"""A rebuild while commands arrive: how long these take, how far the live view is behind, and what a reader sees.

python -m projections.bench.loaded: the rebuild itself, in a process of its own as a person starts it; two connection
strings come on stdin, what it did goes to stdout.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from random import Random
from time import perf_counter
from typing import Any

import uvloop

from eventstore.postgres import PostgresStore
from eventstore.records import Any as AnyVersion
from eventstore.records import Append, NewEvent
from eventstore.store import EventStore
from infra.bench.figures import quantile
from projections.bench.accounts import AT, DOMAIN, VIEW, body
from projections.postgres import PostgresDatabase
from projections.projector import Projector
from projections.refolding.beside import Standing
from projections.refolding.rebuild import rebuild
from projections.refolding.refold import CatchUp, Log
from projections.serving.views import Views

LOOK_SECONDS = 0.01
WAIT_SECONDS = 0.2
SEED = 6


@dataclass(slots=True)
class Heard:
    """Seconds that each command took, that each batch was behind when it could be seen, and looks that were wrong."""

    commands: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    looks: int = 0
    wrong_looks: int = 0

    def told(self, seconds: float) -> dict[str, Any]:
        return {
            "commands_per_second": len(self.commands) / seconds,
            "p50_ms": 1000 * quantile(self.commands, 0.5),
            "p99_ms": 1000 * quantile(self.commands, 0.99),
            "live_behind_seconds": max(self.behind),
            "looks": self.looks,
            "looks_empty_or_older": self.wrong_looks,
        }


class Load:
    """Commands at a rate, the live projection, and a reader who looks every 10 ms; all in one process."""

    def __init__(self, store: EventStore, database: PostgresDatabase, views: Views, rows: int) -> None:
        self._store, self._database, self._views, self._rows = store, database, views, rows
        self._random = Random(SEED)  # noqa: S311
        self.heard = Heard()

    async def command(self, rate: float) -> None:
        began, under_way = perf_counter(), set[asyncio.Task[None]]()
        for number in count():
            await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
            one = asyncio.create_task(self._deposit(self._random.randrange(self._rows)))
            under_way.add(one)
            one.add_done_callback(under_way.discard)

    async def _deposit(self, row: int) -> None:
        began = perf_counter()
        event = NewEvent("bench.Deposited.v1", body(row, 1), AT)
        await self._store.append(Append(f"bench-{row}", [event], AnyVersion()))
        self.heard.commands.append(perf_counter() - began)

    async def project(self) -> None:
        projector = Projector(DOMAIN.views, self._database)
        marks = await projector.marks()
        log = Log(DOMAIN, self._store, max(mark.position for mark in marks.values()))
        while True:
            head = await self._store.wait_beyond(log.after, WAIT_SECONDS)
            async for batch in CatchUp(log, DOMAIN, dict.fromkeys(marks, head)).batches():
                await projector.apply(batch.events)
                if batch:
                    self.heard.behind.append(time.time() - batch.events[0].recorded_at.timestamp())

    async def look(self) -> None:
        """Rows are there and never go back."""
        seen = dict[str, int]()
        while True:
            key = str(self._random.randrange(min(self._rows, 100)))
            row = await self._views.one(VIEW, key)
            deposits = 0 if row is None else row.model_dump()["deposits"]
            self.heard.looks += 1
            self.heard.wrong_looks += not (deposits >= seen.get(key, 1))
            seen[key] = max(deposits, seen.get(key, 1))
            await asyncio.sleep(LOOK_SECONDS)


async def under_load(place: str, owner: str, reader: str, *, rows: int, rate: float, seconds: float) -> dict[str, Any]:
    """Commands alone for some seconds, then while the view is rebuilt."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresStore.open(place))
        database, views = PostgresDatabase(reader, DOMAIN), Views(reader, DOMAIN)
        await views.open()
        stack.push_async_callback(views.close)
        stack.push_async_callback(database.close)
        load = Load(store, database, views, rows)
        tasks = [asyncio.create_task(work) for work in (load.command(rate), load.project(), load.look())]
        try:
            quiet = (await heard(load, asyncio.sleep(seconds)))[0]
            busy, made = await heard(load, rebuilt(place, owner))
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for failure in ends:
            if not isinstance(failure, asyncio.CancelledError):
                raise failure or AssertionError("it has ended")
    return {"alone": quiet, "rebuilding": busy, "ratio_p99": busy["p99_ms"] / quiet["p99_ms"], **made}


async def heard(load: Load, work: Any) -> tuple[dict[str, Any], Any]:
    load.heard, began = Heard(), perf_counter()
    done = await work
    return load.heard.told(perf_counter() - began), done


async def rebuilt(place: str, owner: str) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await child.communicate(f"{place}\n{owner}\n".encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise RuntimeError(f"the rebuild ended with {child.returncode}")
    told: dict[str, Any] = json.loads(said)
    return told


class Clock:
    """What a person could have read from the bar when a tenth of the work was done."""

    def __init__(self) -> None:
        self._began, self._tenth = perf_counter(), (0.0, 0.0)

    def progress(self, done: int, total: int) -> None:
        passed = perf_counter() - self._began
        if not self._tenth[0] and total and done * 10 >= total:
            self._tenth = passed, passed * (total - done) / done

    def told(self) -> dict[str, float]:
        at, foretold = self._tenth
        left = perf_counter() - self._began - at
        return {"foretold_seconds": foretold, "left_seconds": left, "ratio_eta": foretold / left}


async def main(place: str, owner: str) -> None:
    async with PostgresStore.open(place) as store, Standing.open(owner, DOMAIN) as standing:
        clock = Clock()
        done = await rebuild(standing, VIEW, store, progress=clock.progress)
        sys.stdout.write(json.dumps({"rebuild": asdict(done), "at_a_tenth": clock.told()}))


if __name__ == "__main__":
    uvloop.run(main(*sys.stdin.read().splitlines()))
