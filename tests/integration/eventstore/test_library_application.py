"""Applications written with the `eventsourcing` library run on the store by a change of settings only."""

import threading
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import AggregateNotFoundError, Application, ProcessingEvent
from eventsourcing.cryptography import AESCipher
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import DataError, IntegrityError, Tracking
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System

from eventstore.cloudevents import decode, encode
from eventstore.persistence import Factory
from eventstore.postgres import PostgresStore


class Account(Aggregate):
    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner, self.balance = owner, Decimal(0)

    @event("Credited")
    def credit(self, amount: Decimal) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    """A small application, written with the library and knowing nothing of us."""

    is_snapshotting_enabled = True

    def open(self, owner: str) -> UUID:
        account = Account(owner)
        self.save(account)
        return account.id

    def credit(self, account_id: UUID, amount: str) -> None:
        account = self.repository.get(account_id)
        account.credit(Decimal(amount))
        self.save(account)

    def transfer(self, giver_id: UUID, taker_id: UUID, amount: str) -> None:
        giver, taker = self.repository.get(giver_id), self.repository.get(taker_id)
        giver.credit(-Decimal(amount))
        taker.credit(Decimal(amount))
        self.save(giver, taker)

    def balance(self, account_id: UUID) -> Decimal:
        return self.repository.get(account_id).balance


class Openings(ProcessApplication[UUID]):
    """Follows the accounts and counts them."""

    @singledispatchmethod
    def policy(self, domain_event, processing_event: ProcessingEvent) -> None: ...

    @policy.register
    def _(self, domain_event: Account.Opened, processing_event: ProcessingEvent) -> None:
        processing_event.collect_events(Account(f"copy of {domain_event.owner}"))


MODULES = ["eventsourcing.popo", "eventstore.persistence"]
EXTRAS = {
    "plain": {},
    "compressed": {"COMPRESSOR_TOPIC": "zlib"},
    "encrypted": {
        "CIPHER_TOPIC": "eventsourcing.cryptography:AESCipher",
        "CIPHER_KEY": AESCipher.create_key(32),
        "COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor",
    },
}


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("module", MODULES)
def test_the_sample_does_the_same_on_both_modules(library, module, extra):
    with Accounts(env={**library, "PERSISTENCE_MODULE": module, **EXTRAS[extra]}) as app:
        ann, bob = app.open("Ann"), app.open("Bob")
        app.credit(ann, "10.00")
        app.transfer(ann, bob, "2.50")
        app.take_snapshot(ann)
        app.credit(ann, "1.00")
        assert (app.balance(ann), app.balance(bob)) == (Decimal("8.50"), Decimal("2.50"))
        assert app.repository.get(ann, version=2).balance == Decimal("10.00")
        assert [n.id for n in app.notification_log.select(1, 10)] == [1, 2, 3, 4, 5, 6]
        with pytest.raises(AggregateNotFoundError):
            app.balance(uuid4())


def test_what_one_process_recorded_another_one_reads(library):
    with Accounts(env=library) as app:
        account = app.open("Ann")
    with Accounts(env={**library, "CREATE_TABLE": "no"}) as app:
        app.credit(account, "3.00")
        assert app.balance(account) == Decimal("3.00")


def test_who_is_late_gets_the_librarys_conflict(library):
    with Accounts(env=library) as app:
        account_id = app.open("Ann")
        first, second = app.repository.get(account_id), app.repository.get(account_id)
        first.credit(Decimal(1))
        second.credit(Decimal(2))
        app.save(first)
        with pytest.raises(IntegrityError):
            app.save(second)
        assert app.balance(account_id) == Decimal(1)


def test_several_aggregates_are_saved_together_or_not_at_all(library):
    with Accounts(env=library) as app:
        ann, bob = app.repository.get(app.open("Ann")), app.repository.get(app.open("Bob"))
        app.credit(bob.id, "1.00")
        ann.credit(Decimal(1))
        bob.credit(Decimal(1))
        with pytest.raises(IntegrityError):
            app.save(ann, bob)
        assert app.balance(ann.id) == 0
        assert app.recorder.max_notification_id() == 3


def test_interleaved_events_keep_the_order_in_which_they_were_saved(library):
    with Accounts(env=library) as app:
        ann, bob = Account("Ann"), Account("Bob")
        events = [*ann.collect_events(), *bob.collect_events()]
        ann.credit(Decimal(1))
        bob.credit(Decimal(2))
        ann.credit(Decimal(3))
        events += [*ann.collect_events()[:1], *bob.collect_events()]
        recordings = app.events.put(events)
        assert [r.notification.id for r in recordings] == [1, 2, 3, 4]
        found = [(n.originator_id, n.originator_version) for n in app.notification_log.select(1, 10)]
        assert found == [(ann.id, 1), (bob.id, 1), (ann.id, 2), (bob.id, 2)]
        app.credit(ann.id, "1.00")
        assert app.repository.get(ann.id).version == 3


def test_threads_share_the_committer(library):
    with Accounts(env=library) as app:
        accounts: list[UUID] = []

        def work() -> None:
            for _ in range(20):
                account = app.open("Ann")
                app.credit(account, "1.00")
                accounts.append(account)

        threads = [threading.Thread(target=work) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(accounts) == 240
        assert [n.id for n in app.recorder.select_notifications(1, 1000)] == list(range(1, 481))
        assert {app.balance(account) for account in accounts} == {Decimal(1)}


def test_a_system_of_applications_processes_each_event_once(library):
    with SingleThreadedRunner(System(pipes=[[Accounts, Openings]]), env=library) as runner:
        accounts, openings = runner.get(Accounts), runner.get(Openings)
        for owner in ("Ann", "Bob", "Eve"):
            accounts.open(owner)
        assert openings.recorder.max_tracking_id("Accounts") == 3
        assert openings.recorder.max_notification_id() == 3
        with pytest.raises(IntegrityError):
            openings.recorder.insert_events([], tracking=Tracking("Accounts", 3))


def test_a_subscription_yields_what_is_there_and_what_comes(library):
    with Accounts(env=library) as app:
        app.open("Ann")
        with app.recorder.subscribe(gt=0) as subscription:
            assert next(subscription).id == 1
            app.open("Bob")
            assert next(subscription).id == 2


async def test_its_log_is_a_log_of_ours(library):
    with Accounts(env=library) as app:
        account = app.open("Ann")
        app.credit(account, "1.00")
        conninfo = app.factory._address.conninfo()
    async with PostgresStore.open(conninfo) as store:
        [opened, credited] = await store.read_stream(f"accounts-{account}")
        assert (opened.version, credited.version, await store.head()) == (1, 2, 2)
        record = encode(credited, "/accounts")
        assert decode(record.key, record.value, record.headers) == credited


def test_what_the_store_cannot_hold_is_a_data_error(library):
    with Accounts(env=library) as app, pytest.raises(DataError):
        app.open("x" * 2_000_000)


@pytest.mark.parametrize("missing", ["POSTGRES_DBNAME", "POSTGRES_HOST", "POSTGRES_USER", "POSTGRES_PASSWORD"])
def test_a_missing_setting_is_named(library, missing):
    del library[missing]
    with pytest.raises(OSError, match=missing):
        Factory(library)
