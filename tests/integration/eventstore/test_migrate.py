"""The schema is the sum of its migrations, and each role has the rights it needs and no others."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import connect as sync_connect
from psycopg.errors import InsufficientPrivilege

from eventstore import migrate as steps
from eventstore import sql
from eventstore.errors import SchemaMismatch, StoreUnavailable
from eventstore.migrate import Roles, connect, migrate, missing
from eventstore.postgres import PostgresStore
from eventstore.records import Any, Append, NewEvent
from infra.plan import Database

ROLES = Roles("crash-write", ["crash-read"], ["crash-follow"])
TABLES = sorted(steps.WRITER)
EVENT = Append("orders-1", [NewEvent("orders.X.v1", b"1", datetime.now(UTC))], Any())

CHANGES = [
    "UPDATE events SET data = ''",
    "UPDATE events SET position = position + 1",
    "DELETE FROM events",
    "TRUNCATE events",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "CREATE TABLE mine ()",
    "UPDATE idempotency SET version = 7",
    "DELETE FROM streams",
    "DELETE FROM head",
    "TRUNCATE head",
    "UPDATE migrations SET number = 7",
    "CREATE OR REPLACE FUNCTION mine() RETURNS void LANGUAGE sql AS ''",
    'SET ROLE "crash-migrate"',
]


def names(count=None):
    return [name for _, name, _ in sql.migrations()[:count]]


def test_migrations_apply_once_and_in_order(bare):
    with connect(bare.owner, 5) as connection:
        assert missing(connection, ROLES) == [f"migration {name} is not applied" for name in names()]
        assert migrate(connection, ROLES) == names()
        assert migrate(connection, ROLES) == []
        assert missing(connection, ROLES) == []


def test_many_migrate_at_once_and_one_does_it(bare):
    def attempt(_):
        with connect(bare.owner, 5) as connection:
            return migrate(connection, ROLES)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [[], [], [], names()]


def test_a_failing_step_leaves_nothing_behind(bare, monkeypatch):
    broken = [*sql.migrations(), (len(names()) + 1, "9999_broken", "CREATE TABLE half (); SELECT no_such_thing()")]
    monkeypatch.setattr(sql, "migrations", lambda: broken)
    with connect(bare.owner, 5) as connection, pytest.raises(psycopg.errors.UndefinedFunction):
        migrate(connection, ROLES)
    with connect(bare.owner, 5) as connection:
        assert connection.execute("SELECT to_regclass('half'), to_regclass('events')").fetchone() == (None, None)


def test_a_step_that_was_changed_after_it_was_applied_stops(place, monkeypatch):
    changed = [(number, name, f"{text} -- changed") for number, name, text in sql.migrations()]
    monkeypatch.setattr(sql, "migrations", lambda: changed)
    with connect(place.owner, 5) as connection, pytest.raises(SchemaMismatch, match="0001_log was changed"):
        migrate(connection, ROLES)


def test_a_database_from_the_future_stops_old_code(place, monkeypatch):
    known = sql.migrations()[:-1]
    monkeypatch.setattr(sql, "migrations", lambda: known)
    with connect(place.owner, 5) as connection, pytest.raises(SchemaMismatch, match="too old"):
        migrate(connection, ROLES)


def test_check_names_a_right_that_is_missing_and_one_too_many(place):
    with connect(place.owner, 5) as connection:
        connection.execute('REVOKE INSERT ON events FROM "crash-write"; GRANT DELETE ON events TO "crash-read"')
        assert missing(connection, ROLES) == [
            "crash-write lacks events INSERT",
            "crash-read must not have events DELETE",
        ]
        migrate(connection, ROLES)
        assert missing(connection, ROLES) == []


async def filled(place):
    async with PostgresStore.open(place.writer) as store:
        await store.append(EVENT)


@pytest.mark.parametrize("principal", ["crash-write", "crash-read", "crash-follow"])
def test_nobody_changes_history(place, principal):
    asyncio.run(filled(place))
    with sync_connect(place.conninfo(principal), autocommit=True) as connection:
        assert [statement for statement in CHANGES if not refused(connection, statement)] == []
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


def refused(connection, statement):
    try:
        connection.execute(statement)
    except InsufficientPrivilege:
        return True
    return False


def test_who_may_only_read_cannot_append(place):
    async def attempt():
        async with PostgresStore.open(place.reader) as store:
            assert await store.head() == 0
            with pytest.raises(StoreUnavailable, match="permission denied"):
                await store.append(EVENT)

    asyncio.run(attempt())


async def test_who_only_follows_reads_the_events_and_nothing_else(place):
    await filled(place)
    follower = place.conninfo("crash-follow")
    async with PostgresStore.open(follower) as store:
        assert [event.stream for event in await store.read_log()] == [EVENT.stream]
        assert len(await store.read_stream(EVENT.stream)) == await store.head() == 1
        with pytest.raises(StoreUnavailable, match="permission denied"):
            await store.append(EVENT)
    with sync_connect(follower, autocommit=True) as connection:
        for table in set(TABLES) - set(steps.FOLLOWED):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"SELECT FROM {table}")


def test_a_store_that_was_never_migrated_says_so(bare):
    async def attempt():
        async with PostgresStore.open(bare.owner) as store:
            with pytest.raises(StoreUnavailable, match="does not exist"):
                await store.append(EVENT)
            with pytest.raises(StoreUnavailable, match="does not exist"):
                await store.head()

    asyncio.run(attempt())


@pytest.fixture
def owner_environment(floor, environment):
    """What `python -m eventstore` is told when it acts as an owner."""
    floor.create_database(COMMAND)
    settings = floor.settings("command-migrate")
    return {
        **environment,
        "HEADRACE_PRINCIPAL": "command-migrate",
        "HEADRACE_CREDENTIALS": str(settings.credentials),
    }


COMMAND = Database("command_events", "command-migrate", ("command-write", "command-read"))


def command(environment, *arguments):
    call = [sys.executable, "-m", "eventstore", "migrate", *arguments]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_the_command_migrates_checks_and_says_what_it_did(owner_environment):
    database = ("command_events", "command-write", "command-read")
    code, said = command(owner_environment, "--check", *database)
    assert (code, "migration 0001_log is not applied" in said) == (1, True)
    code, said = command(owner_environment, *database)
    assert (code, [line.split()[-1] for line in said.splitlines()]) == (0, names())
    code, said = command(owner_environment, *database)
    assert (code, "nothing" in said) == (0, True)
    code, said = command(owner_environment, "--check", *database)
    assert (code, "nothing is missing" in said) == (0, True)


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "reason"),
    [
        ({}, (), 2, "required"),
        ({}, ("command_events", "no-such-role"), 1, 'role "no-such-role" does not exist'),
        ({"HEADRACE_POSTGRES_PORT": "1"}, ("--wait", "0.1", "command_events", "command-write"), 69, "refused"),
        ({"HEADRACE_POSTGRES_PORTS": "1"}, ("command_events", "command-write"), 2, "HEADRACE_POSTGRES_PORTS"),
        ({}, ("--wait", "0.1", "no_such_database", "command-write"), 69, "no_such_database"),
    ],
)
def test_the_command_fails_with_a_sentence(owner_environment, changes, arguments, code, reason):
    returned, said = command({**owner_environment, **changes}, *arguments)
    assert (returned, reason in said, "Traceback" in said) == (code, True, False), said
