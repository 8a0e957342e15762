"""The `eventsourcing` library: its own recorder, its own application, and the latter over ours."""

from collections.abc import Callable
from time import perf_counter
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import InfrastructureFactory, StoredEvent, TrackingRecorder
from eventsourcing.utils import Environment

from eventstore.bench.ours import STREAM_APPENDS, TYPE, body
from eventstore.bench.place import Place
from infra.bench.figures import Round, in_threads

PEER = "eventsourcing.postgres"
OURS = "eventstore.persistence"
THREADS = (1, 8, 16)


class Account(Aggregate):
    """An aggregate as the library's documentation writes them."""

    def __init__(self) -> None:
        self.balance = 0

    @event("Deposited")
    def deposit(self, amount: int) -> None:
        self.balance += amount


class Bank(Application[UUID]):
    """An application that knows nothing of where it is kept."""


def recorder_appends(place: Place, threads: int, payload: int, events: int, seconds: float) -> Round:
    """The library's own application recorder, with its defaults: it locks the table for each append."""
    data = body(payload)
    environment = Environment("peer", place.library("peer", PEER, threads))
    with InfrastructureFactory[TrackingRecorder].construct(environment) as factory:
        recorder = factory.application_recorder()

        def write(_: int, goes_on: Callable[[], bool]) -> list[float]:
            taken: list[float] = []
            while True:
                stream = uuid4()
                for number in range(STREAM_APPENDS):
                    if not goes_on():
                        return taken
                    began = perf_counter()
                    versions = range(number * events + 1, number * events + 1 + events)
                    recorder.insert_events([StoredEvent(stream, version, TYPE, data) for version in versions])
                    taken.append(perf_counter() - began)

        found = in_threads(threads, seconds, write)
    return Round(found.events * events, found.seconds, found.latencies)


def application_appends(place: Place, module: str, threads: int, seconds: float) -> Round:
    """An application's `save`, aggregate and mapper included, over one of the modules."""
    with Bank(env=place.library("Bank", module, threads)) as bank:

        def write(_: int, goes_on: Callable[[], bool]) -> list[float]:
            taken: list[float] = []
            while True:
                account = Account()
                bank.save(account)
                for _ in range(STREAM_APPENDS - 1):
                    if not goes_on():
                        return taken
                    began = perf_counter()
                    account.deposit(10)
                    bank.save(account)
                    taken.append(perf_counter() - began)

        return in_threads(threads, seconds, write)
