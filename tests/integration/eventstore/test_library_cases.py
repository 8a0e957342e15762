"""The published test cases of the `eventsourcing` library, run against our persistence module."""

import os
from uuid import uuid4

import pytest
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.tests import application, persistence
from eventsourcing.utils import Environment
from psycopg import connect
from psycopg.sql import SQL, Identifier

from eventstore.persistence import Factory
from eventstore.recorders import AggregateRecorder, ApplicationRecorder, ProcessRecorder


class OnOurStore:
    """Makes the factory of a case, over an empty log."""

    @pytest.fixture(autouse=True)
    def _environment(self, library, monkeypatch):
        self.env = Environment("App", dict(library))
        create_schema(library)
        for name, value in library.items():
            monkeypatch.setenv(name, value)
        self.made = []
        yield
        for factory in self.made:
            factory.close()

    def factory_of_this_case(self):
        self.made.append(InfrastructureFactory.construct(self.env))
        return self.made[-1]


def create_schema(library):
    """The library's own tracking recorder wants its schema to be there."""
    given = {name: library[f"POSTGRES_{name.upper()}"] for name in ("dbname", "host", "port", "user", "password")}
    tls = {name: library[f"POSTGRES_{name.upper()}"] for name in ("sslmode", "sslrootcert", "sslcert", "sslkey")}
    with connect(**given, **tls) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(library["POSTGRES_SCHEMA"])))


class TestAggregateRecorder(OnOurStore, persistence.AggregateRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().aggregate_recorder()


class TestSnapshotRecorder(OnOurStore, persistence.AggregateRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().aggregate_recorder("snapshots")


class TestApplicationRecorder(OnOurStore, persistence.ApplicationRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().application_recorder()

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    def new_originator_id(self):
        return f"account-{uuid4()}"

    def create_recorder(self):
        self.env["ORIGINATOR_ID_TYPE"] = "text"
        return super().create_recorder()


class TestNonInterleaving(OnOurStore, persistence.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self):
        return self.factory_of_this_case().application_recorder()


class TestTrackingRecorder(OnOurStore, persistence.TrackingRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().tracking_recorder()


class TestTrackingOfTheProcessRecorder(OnOurStore, persistence.TrackingRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().process_recorder()


class TestProcessRecorder(OnOurStore, persistence.ProcessRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().process_recorder()


class TestProcessRecorderAsApplicationRecorder(OnOurStore, persistence.ApplicationRecorderTestCase):
    def create_recorder(self):
        return self.factory_of_this_case().process_recorder()


class OwnTrackingRecorder(PostgresTrackingRecorder):
    pass


class TestFactory(OnOurStore, persistence.InfrastructureFactoryTestCase):
    def expected_factory_class(self):
        return Factory

    def expected_aggregate_recorder_class(self):
        return AggregateRecorder

    def expected_application_recorder_class(self):
        return ApplicationRecorder

    def expected_tracking_recorder_class(self):
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self):
        return OwnTrackingRecorder

    def expected_process_recorder_class(self):
        return ProcessRecorder


class TestExampleApplication(OnOurStore, application.ExampleApplicationTestCase):
    expected_factory_topic = "eventstore.persistence:Factory"


@pytest.mark.filterwarnings("default:.*deprecated:DeprecationWarning")
class TestApplication(OnOurStore, application.ApplicationTestCase):
    expected_factory_topic = "eventstore.persistence:Factory"

    def test_the_cases_run_on_our_module(self):
        assert os.environ["PERSISTENCE_MODULE"] == "eventstore.persistence"
