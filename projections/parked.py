"""What is parked of a view, on PostgreSQL."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, LiteralString

import psycopg

from eventstore.cloudevents import encode_value, structured
from eventstore.records import RecordedEvent
from projections import sql
from projections.parking import Parked, Skip, Spot, Waiting, begun

Execute = Callable[[Any, Mapping[str, Any]], Awaitable[psycopg.AsyncCursor[Any]]]

HELD, BEGIN, QUEUE_UP, SPOT, WAITING, SPOTS, QUEUE, DROP, FAILED, FREE, CLEAR = (
    sql.text(f"parked_{name}")
    for name in ("held", "begin", "queue_up", "spot", "waiting", "spots", "queue", "drop", "failed", "free", "clear")
)
SKIP, SKIPS = sql.text("skip"), sql.text("skips")
SOURCE = "/parked"


class PostgresParking:
    """`view` is the name of the view's table. An event is kept as the CloudEvent that it came as."""

    def __init__(self, view: str, execute: Execute) -> None:
        self._view, self._execute = view, execute

    async def held(self, keys: Collection[str], streams: Collection[str]) -> psycopg.AsyncCursor[Any]:
        """The spots of these keys and whole streams, as rows to be fetched."""
        return await self._execute(HELD, {"view": self._view, "keys": list(keys), "streams": list(streams)})

    async def park(self, waiting: Sequence[Waiting]) -> None:
        if not waiting:
            return
        firsts = {one.spot: begun(one) for one in reversed(waiting)}
        began = [first.spot._asdict() | failure(first) for first in firsts.values()]
        queued = [one.spot._asdict() | kept(one.event) for one in waiting]
        for query, rows in ((BEGIN, began), (QUEUE_UP, queued)):
            await self._execute(query, {"view": self._view, **columns(rows)})

    async def parked(self, spot: Spot) -> Parked | None:
        found = await self._rows(SPOT, spot._asdict())
        if not found:
            return None
        # Counted by a statement of its own: one that waited for the lock would not see what came meanwhile.
        [count] = await self._rows(WAITING, spot._asdict())
        return parked({**found[0], **count})

    async def queue(self, spot: Spot, most: int) -> list[RecordedEvent]:
        return [structured(row["event"]) for row in await self._rows(QUEUE, {**spot._asdict(), "most": most})]

    async def drop(self, spot: Spot, positions: Collection[int]) -> None:
        await self._do(DROP, spot, positions=list(positions))

    async def failed(self, waiting: Waiting) -> None:
        await self._do(FAILED, waiting.spot, **failure(begun(waiting)))

    async def free(self, spot: Spot) -> None:
        await self._do(FREE, spot)

    async def skip(self, skip: Skip) -> None:
        told = {"error": skip.error, "who": skip.who, "why": skip.why, "at": skip.at}
        await self._do(SKIP, skip.spot, **kept(skip.event), **told)

    async def spots(self) -> list[Parked]:
        return [parked(row) for row in await self._rows(SPOTS, {})]

    async def skips(self) -> list[Skip]:
        return [
            Skip(
                Spot(row["name"], row["of_stream"]),
                structured(row["event"]),
                *(row[name] for name in ("error", "who", "why", "at")),
            )
            for row in await self._rows(SKIPS, {})
        ]

    async def clear(self) -> None:
        await self._execute(CLEAR, {"view": self._view})

    async def _do(self, query: LiteralString, spot: Spot, **told: Any) -> None:
        await self._execute(query, {"view": self._view, **spot._asdict(), **told})

    async def _rows(self, query: LiteralString, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await (await self._execute(query, {"view": self._view, **told})).fetchall()


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def kept(event: RecordedEvent) -> dict[str, Any]:
    return {"position": event.position, "stream": event.stream, "event": encode_value(event, SOURCE)}


def failure(parked: Parked) -> dict[str, Any]:
    return {name: getattr(parked, name) for name in ("position", "stream", "version", "type", "error", "attempts")}


def parked(row: Mapping[str, Any]) -> Parked:
    told = {name: row[name] for name in Parked.__slots__ if name != "spot"}
    return Parked(Spot(row["name"], row["of_stream"]), **told)
