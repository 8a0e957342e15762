"""What stands in the table beside the live one is held against its fold, and against another, before it is live."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from random import Random

from domains.kernel import Row
from eventstore.store import EventStore
from infra.partitions import partition_of
from projections.errors import NotProved
from projections.parking import EventPlace
from projections.refolding.beside import Beside, Standing
from projections.refolding.drift import as_it_is, columns_that_differ
from projections.refolding.facts import of_one_stream
from projections.refolding.refold import Bounds, Refold, fold, without
from projections.rows import AnyView

ROWS = 200
# So many events are folded once more, a row of at most so many: what there is beyond is compared with the first fold.
EVENTS, OF_ROW = 10_000, 500
BY_KEY = "SET LOCAL enable_seqscan = off"
ANOTHER = "is another when it is folded once more, so the fold makes of it what is not in the events"


class Sample:
    """Some of the rows that were folded, taken by chance, the same for the same seed; `count` is how many there are."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)  # noqa: S311
        self.count, self.rows = 0, dict[str, Row]()

    def add(self, rows: Mapping[str, Row]) -> None:
        """Those of one pass."""
        self.count += len(rows)
        self.rows |= {key: rows[key] for key in self._some(rows)}
        self.rows = {key: self.rows[key] for key in self._some(self.rows)}

    def _some(self, rows: Mapping[str, Row]) -> Collection[str]:
        return rows if len(rows) <= ROWS else self._chance.sample(list(rows), ROWS)


@dataclass(frozen=True, slots=True)
class Proof:
    """Folds a sample of rows once more, from what the store says now and with all decoded anew.

    A row of one stream is folded from that stream; of others all up to a bound is folded, twice if there is more.
    """

    standing: Standing
    view: AnyView
    store: EventStore
    bounds: Bounds
    skipped: Collection[EventPlace]

    async def of(self, beside: Beside, sample: Sample) -> None:
        """Raises `NotProved`, and what a fold raises."""
        found = (await self.standing.one("count", {}, table=beside.table.identifier))["rows"]
        if found != sample.count:
            raise NotProved(self.view.name, f"its new table has {found} rows, and {sample.count} were folded")
        table = await self._table(beside, sample.rows)
        self._compare(sample.rows, table, sample.rows, "in its new table is not as it was folded")
        if of_one_stream(self.standing.domain, self.view):
            again = await self._of_streams(sample.rows)
            self._compare(again, table, again, ANOTHER)
            return
        bounds = {partition: min(bound, EVENTS) for partition, bound in self.bounds.items()}
        before = table if bounds == self.bounds else await self._of_all(sample.rows, bounds)
        self._compare(sample.rows, before, await self._of_all(sample.rows, bounds), ANOTHER)

    def _compare(
        self, keys: Iterable[str], found: Mapping[str, Row | None], wanted: Mapping[str, Row | None], how: str
    ) -> None:
        for key in keys:
            if columns := columns_that_differ(self.view, found.get(key), wanted.get(key)):
                raise NotProved(self.view.name, f"{', '.join(columns)} of the row {key!r:.80} {how}")

    async def _table(self, beside: Beside, keys: Iterable[str]) -> dict[str, Row]:
        """The rows with these keys, as readers will find them: by the key."""
        names = {"columns": beside.table.listed, "table": beside.table.identifier, "key": beside.table.key}
        async with self.standing.connection.transaction():
            await self.standing.connection.execute(BY_KEY)
            rows = await (await self.standing.run("chosen", {"keys": list(keys)}, **names)).fetchall()
        return {row[self.view.key]: as_it_is(self.view, row) for row in rows}

    async def _of_streams(self, keys: Iterable[str]) -> dict[str, Row | None]:
        again, events, domain = dict[str, Row | None](), 0, self.standing.domain
        for key in keys:
            stream, rows = domain.stream(key), dict[str, Row]()
            page = await self.store.read_stream(stream, limit=OF_ROW)
            if len(page) < OF_ROW:
                bound = self.bounds[partition_of(stream.encode(), domain.partitions)]
                within = [event for event in page if event.position <= bound]
                fold(domain, self.view, without(within, self.skipped), rows, key.__eq__)
                again[key] = rows.get(key)
            if (events := events + len(page)) >= EVENTS:
                break
        return again

    async def _of_all(self, keys: Mapping[str, Row], bounds: Bounds) -> dict[str, Row]:
        refold = Refold(self.standing.domain, self.view, self.store, bounds, self.skipped)
        return await refold.rows(keys.__contains__)
