"""What is measured, as numbers that can be compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from threading import Barrier, Thread
from time import perf_counter, process_time


@dataclass(frozen=True, slots=True)
class Round:
    """One round: events, the seconds they took, the seconds that each append took, and those of our processor time."""

    events: int
    seconds: float
    latencies: Sequence[float] = ()
    busy: float = 0.0

    @property
    def rate(self) -> float:
        return self.events / self.seconds


class Clock:
    """Measures from its first `begin` on, what passes and what our processor is busy."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        self._began = self._began or (perf_counter(), process_time())

    def round(self, events: int) -> Round:
        assert self._began is not None  # noqa: S101
        return Round(events, perf_counter() - self._began[0], busy=process_time() - self._began[1])


@dataclass(frozen=True, slots=True)
class Figure:
    """The medians of several rounds."""

    events_per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> "Figure":
        rate = median(one.rate for one in rounds)
        if not rounds[0].latencies:
            return cls(rate)
        return cls(rate, *(1000 * median(quantile(one.latencies, q) for one in rounds) for q in (0.5, 0.99)))


def known(figure: Figure) -> dict[str, float]:
    return {name: value for name, value in asdict(figure).items() if value is not None}


def busy(taken: Mapping[str, Sequence[Round]]) -> dict[str, float]:
    """Microseconds of our processor for each event, by side."""
    return {name: 1e6 * median(one.busy / one.events for one in rounds) for name, rounds in taken.items()}


def quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def in_threads(threads: int, seconds: float, work: Callable[[int, Callable[[], bool]], list[float]]) -> Round:
    """Runs `work(number, goes_on)` in threads at once; each returns how long its appends took, an event each."""
    barrier = Barrier(threads + 1)
    found: list[list[float]] = []
    failures: list[BaseException] = []
    deadline = float("inf")

    def run(number: int) -> None:
        try:
            barrier.wait()
            found.append(work(number, lambda: perf_counter() < deadline))
        except BaseException as error:
            failures.append(error)

    running = [Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    began = perf_counter()
    deadline = began + seconds
    barrier.wait()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    latencies = [taken for one in found for taken in one]
    return Round(len(latencies), perf_counter() - began, latencies)
