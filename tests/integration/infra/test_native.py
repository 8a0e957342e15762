"""The native provider: real servers, broken on purpose."""

import os
import socket
import ssl
import stat
import subprocess
import sys

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from psycopg.errors import InsufficientPrivilege

from domains.plan import plan
from infra.kafka import aiokafka
from infra.native import Native
from infra.plan import Database, Job, Plan, Topic
from infra.plan import own as infra_plan
from infra.postgres import conninfo

SERVERS = ("postgres", "kafka")
EVERYTHING = (*SERVERS, *sorted(process.name for process in (plan() + infra_plan()).processes))


@pytest.fixture(scope="module")
def system(floor):
    """A second system beside the session's own, with what the domains declare."""
    native = Native(floor.folder.with_name(f"{floor.folder.name}-native"), plan() + infra_plan(), floor.cache)
    try:
        native.up()
        yield native
    finally:
        native.down()


def pids(system):
    return {name: system.state.running(name).pid for name in EVERYTHING if system.state.running(name)}


def states(system):
    return {part.name: part.state for part in system.status()}


def test_up_twice_changes_nothing(system):
    before = pids(system)
    system.up()
    assert pids(system) == before
    assert states(system) == dict.fromkeys(EVERYTHING, "running")


def test_a_job_runs_again_when_its_inputs_have_changed_and_only_then(system, tmp_path):
    ran, plan = tmp_path / "ran", system.plan
    call = ("-n", "1", "-r", "1", f"open({str(ran)!r}, 'a').write('.')")
    for inputs, times in (("first", 1), ("first", 1), ("second", 2)):
        system.plan = plan + Plan(jobs=(Job("count", "timeit", call, "orders-migrate", inputs),))
        system.up()
        assert len(ran.read_text()) == times
    system.plan = plan


def test_two_systems_stand_side_by_side(system, floor):
    assert not set(pids(system).values()) & set(pids(floor).values())
    assert not set(system.state.read()["ports"].values()) & set(floor.state.read()["ports"].values())


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_crashed_server_is_named_and_comes_back_with_its_data(system, name):
    system.create_database(Database("kept", "orders-migrate", ("orders-write",)))
    system.create_topic(Topic("kept.topic", 1))
    system.kill(name)
    assert states(system)[name] == "crashed"
    system.up()
    assert set(states(system).values()) == {"running"}
    psycopg.connect(conninfo(system.settings("orders-write"), "kept")).close()
    assert "kept.topic" in system.admin()._client.list_topics(timeout=5).topics


def test_the_appender_may_only_insert_and_read(system):
    with psycopg.connect(conninfo(system.settings("orders-write"), "orders_events"), autocommit=True) as connection:
        connection.execute("SELECT count(*) FROM events")
        for verb in ("UPDATE events SET data = ''", "DELETE FROM events", "TRUNCATE events", "DROP TABLE events"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(verb)


def test_a_principal_without_a_right_to_a_database_stays_outside(system):
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(conninfo(system.settings("kafka-ui"), "orders_events")).close()


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"sslmode": "disable"}, {"sslcert": "", "sslkey": ""}])
def test_postgres_refuses_whoever_is_not_proven(system, change):
    wanted = psycopg.conninfo.make_conninfo(conninfo(system.settings("orders-write"), "orders_events"), **change)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(wanted).close()


def test_postgres_refuses_the_certificate_of_another(system):
    other = system.settings("orders-migrate")
    own = conninfo(system.settings("orders-write"), "orders_events")
    wanted = psycopg.conninfo.make_conninfo(own, sslcert=str(other.cert_file), sslkey=str(other.key_file))
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(wanted).close()


async def test_kafka_refuses_what_is_not_allowed(system):
    consumer = AIOKafkaConsumer(
        "orders.events.v1", **aiokafka(system.settings("orders-migrate"), sasl_plain_password="wrong")
    )
    with pytest.raises(KafkaConnectionError):
        await consumer.start()
    await consumer.stop()


async def test_kafka_refuses_a_topic_without_a_right(system):
    consumer = AIOKafkaConsumer("kept.topic", **aiokafka(system.settings("orders-write")))
    with pytest.raises(TopicAuthorizationFailedError):
        await consumer.start()
    await consumer.stop()


@pytest.mark.parametrize("port", ["kafka.api", "kafka.controller"])
def test_every_kafka_listener_speaks_tls_1_3_and_no_plaintext(system, port):
    place = ("127.0.0.1", system.state.port(port))
    context = ssl.create_default_context(cafile=str(system.ca_file))
    context.load_cert_chain(system.settings("broker").cert_file, system.settings("broker").key_file)
    with socket.create_connection(place, 5) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        assert tls.version() == "TLSv1.3"
    with socket.create_connection(place, 5) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = raw.recv(64)
    assert not answer or answer[0] == 0x15  # a TLS alert


def test_secrets_are_readable_by_their_owner_only_and_in_no_log_or_argument(system):
    passwords = []
    for file in (system.folder / "credentials").rglob("*"):
        if file.name in ("password", "key.pem", "ca.key"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        if file.name == "password":
            passwords.append(file.read_text())
    arguments = " ".join(part for pid in pids(system).values() for part in psutil.Process(pid).cmdline())
    logs = " ".join(log.read_text(errors="replace") for log in (system.folder / "logs").iterdir())
    assert passwords
    assert not [password for password in passwords if password in arguments or password in logs]


def test_down_ends_what_up_started_and_nothing_else(system, floor):
    before = pids(system)
    system.down()
    assert not [pid for pid in before.values() if psutil.pid_exists(pid)]
    assert states(system) == dict.fromkeys(EVERYTHING, "stopped")
    assert states(floor) == dict.fromkeys(SERVERS, "running")


def test_a_recycled_pid_is_not_ours(system):
    system.state.started("kafka", os.getpid())
    assert system.state.running("kafka")
    with system.state.changing() as state:
        state["processes"]["kafka"] = [os.getpid(), "another birth"]
    assert system.state.running("kafka") is None
    system.state.ended("kafka")


def test_an_unknown_setting_is_refused_by_name(floor):
    settings = {"HEADRACE_PRINCIPAL": "x", "HEADRACE_CREDENTIALS": str(floor.folder), "HEADRACE_KAFKA_BOOTSTARP": "y"}
    call = [sys.executable, "-m", "eventstore", "migrate", "orders_events", "orders-write"]
    done = subprocess.run(call, env=os.environ | settings, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "HEADRACE_KAFKA_BOOTSTARP" in done.stderr
    assert "Traceback" not in done.stderr
