"""What stands in the table beside the live one is held against its fold, and against another, before it is live."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from random import Random

from domains.kernel import Row
from eventstore.records import RecordedEvent
from eventstore.store import EventStore
from infra.partitions import partition_of
from projections.errors import NotProved
from projections.parking import EventPlace
from projections.refolding.beside import Beside, Standing
from projections.refolding.drift import as_it_is, columns_that_differ
from projections.refolding.facts import of_one_stream
from projections.refolding.refold import Bounds, Refold, fold, without
from projections.rows import AnyView

log = logging.getLogger(__name__)

ROWS = 200
# So many events are folded once more, and of a row: of what has more, so many are folded twice and compared.
EVENTS, OF_ROW, AT_ONCE = 10_000, 500, 500
BY_KEY = "SET LOCAL enable_seqscan = off"
ANOTHER = "is another when it is folded once more, so the fold makes of it what is not in the events"
Made = dict[str, Row | None]


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

    A row of one stream is folded from that stream, others from the log. Of a row with more events than are folded here,
    its first are folded twice; of a longer log its first, into whatever rows they make.
    """

    standing: Standing
    view: AnyView
    store: EventStore
    bounds: Bounds
    skipped: Collection[EventPlace]

    async def of(self, beside: Beside, sample: Sample) -> None:
        """Raises `NotProved`, and what a fold raises."""
        found = await self.standing.one("count", {}, table=beside.table.identifier)
        found |= await self.standing.one("indexes", {"name": beside.table.name})
        if (rows := found["rows"]) != sample.count:
            raise NotProved(self.view.name, f"its new table has {rows} rows, and {sample.count} were folded")
        if (whole := found["whole"]) != (wanted := len(beside.table.indexes)):
            raise NotProved(self.view.name, f"its new table has {whole} whole indexes, and not {wanted}")
        table = await self._table(beside, sample.rows)
        self._compare(sample.rows, table, sample.rows, "in its new table is not as it was folded")
        folded = self._of_streams if of_one_stream(self.standing.domain, self.view) else self._of_log
        again, before = await folded(sample.rows, table)
        if sample.rows and not again:
            log.warning("no row of %s could be folded once more: its fold is not proved", self.view.name)
        self._compare(again, before, again, ANOTHER)

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

    async def _of_streams(self, keys: Mapping[str, Row], table: Mapping[str, Row]) -> tuple[Made, Made]:
        """Rows folded once more, and what they must be: those of the table, or of as many of their events as here."""
        again, before, events, domain = Made(), Made(), 0, self.standing.domain
        for key in keys:
            stream = domain.stream(key)
            page = await self.store.read_stream(stream, limit=OF_ROW)
            bound = self.bounds[partition_of(stream.encode(), domain.partitions)]
            within = without([event for event in page if event.position <= bound], self.skipped)
            made = self._of_events(key, within)
            must = table.get(key) if len(page) < OF_ROW else self._of_events(key, within)
            if made is not None or must is not None:
                again[key], before[key] = made, must
            if (events := events + len(page)) >= EVENTS:
                break
        return again, before

    def _of_events(self, key: str, events: Sequence[RecordedEvent]) -> Row | None:
        rows = dict[str, Row]()
        fold(self.standing.domain, self.view, events, rows, key.__eq__)
        return rows.get(key)

    async def _of_log(self, keys: Mapping[str, Row], table: Mapping[str, Row]) -> tuple[Made, Made]:
        if max(self.bounds.values(), default=0) <= EVENTS:
            return Made(dict.fromkeys(keys)) | await self._refold().rows(keys.__contains__), Made(table)
        # A row that was taken by chance may have no event among the first: those are compared that have.
        again, before = await self._first(bool(keys)), await self._first(bool(keys))
        return Made(dict.fromkeys(before)) | again, Made(before)

    async def _first(self, some_row: bool) -> dict[str, Row]:
        """What the first events make: so many as are folded here, and more only until they make a row, if any do."""
        rows, count, refold = dict[str, Row](), 0, self._refold()
        async with aclosing(refold.pages()) as pages:
            async for page in pages:
                for at in range(0, len(page), AT_ONCE):
                    if count >= EVENTS and (rows or not some_row):
                        return rows
                    refold.fold(some := page[at : at + AT_ONCE], rows)
                    count += len(some)
        return rows

    def _refold(self) -> Refold:
        return Refold(self.standing.domain, self.view, self.store, self.bounds, self.skipped)
