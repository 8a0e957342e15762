"""The compose file describes the system of the plan, hardened, and holds no secret."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from infra.docker import provision, ready
from infra.native import kafka, postgres
from infra.plan import assemble
from infra.settings import Settings

PROJECT = Path(__file__).parents[3]
CONFIGURATIONS = PROJECT / "infra" / "docker"
PLAN = assemble()
SERVERS = {"kafka", "postgres", "kafka-ui"}
LONG_RUNNING = SERVERS | {process.name for process in PLAN.processes}
HARDENING = {
    "user": "10001:10001",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}
SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|PRIVATE|API_?KEY")
RANDOM_VALUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+=_-]{16,}")


COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def shown(name):
    """The folders of credentials that a service sees: a principal's, or None for all of them."""
    mounts = [mount for mount in SERVICES[name]["volumes"] if isinstance(mount, dict)]
    return [mount["volume"].get("subpath") for mount in mounts if mount["source"] == "credentials"]


def conditions(name):
    return {needed: how["condition"] for needed, how in SERVICES[name].get("depends_on", {}).items()}


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    provision.credentials(folder / "authority", folder / "credentials", PLAN)
    return folder / "credentials"


@pytest.mark.parametrize("part", [*PLAN.processes, *PLAN.jobs], ids=lambda part: part.name)
def test_each_part_of_the_plan_is_a_service_with_its_command_and_principal(part):
    service = SERVICES[part.name]
    assert service["command"] == [part.module, *part.arguments]
    assert service["environment"]["HEADRACE_PRINCIPAL"] == part.principal
    assert shown(part.name) == [part.principal]
    assert "entrypoint" not in service


@pytest.mark.parametrize("process", PLAN.processes, ids=lambda process: process.name)
def test_a_process_waits_for_what_it_needs(process):
    waits_for = conditions(process.name)
    assert {need: waits_for.get(need) for need in process.needs} == dict.fromkeys(process.needs, "service_healthy")


@pytest.mark.parametrize("job", PLAN.jobs, ids=lambda job: job.name)
def test_a_job_ends_before_a_process_starts(job):
    assert conditions(job.name) == {"provision": "service_completed_successfully"}
    assert any(conditions(process.name).get(job.name) == "service_completed_successfully" for process in PLAN.processes)


def test_nothing_runs_long_that_the_plan_does_not_know():
    assert {name for name, service in SERVICES.items() if service["restart"] != "no"} == LONG_RUNNING


@pytest.mark.parametrize("asking", [one for one in PLAN.processes if one.asks], ids=lambda process: process.name)
def test_who_asks_finds_each_side_of_each_domain(asking):
    found = json.loads(SERVICES[asking.name]["environment"]["HEADRACE_SERVICES"])
    sides = [process for process in PLAN.processes if process.serves and process.serves[1] in asking.asks]
    assert sum(map(len, found.values())) == len(sides)
    for process in sides:
        domain, side = process.serves
        assert found[domain][side] == f"https://{process.name}:{Settings.model_fields['api_port'].default}"


def test_only_the_gateway_the_console_and_kafka_ui_have_a_way_out():
    assert {name for name, service in SERVICES.items() if "front" in service.get("networks", [])} == {
        "gateway",
        "console",
        "kafka-ui",
    }
    assert [name for name, network in COMPOSE["networks"].items() if network != {"internal": True}] == ["front"]


@every_service
def test_a_service_is_hardened(name):
    service = SERVICES[name]
    assert {key: service.get(key) for key in HARDENING} == HARDENING
    assert service["restart"] in ("no", "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "env_file"} & service.keys()


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_whatever_runs_long_is_asked_whether_it_is_ready(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_the_health_check_asks_the_port_that_a_process_has_when_none_is_set():
    assert Settings.model_fields["health_port"].default == ready.HEALTH_PORT
    assert not [name for name, service in SERVICES.items() if "HEADRACE_HEALTH_PORT" in service.get("environment", {})]


@every_service
def test_a_port_is_published_to_this_machine_only(name):
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert bool(ports) == (name in ("gateway", "console", "kafka-ui"))


@pytest.mark.parametrize("process", PLAN.processes, ids=lambda process: process.name)
def test_whatever_operators_ask_has_a_port_for_them(process):
    port = SERVICES[process.name]["environment"].get("HEADRACE_ADMIN_PORT")
    assert (port is not None) == process.admin
    assert (f"127.0.0.1:{port}:{port}" in SERVICES[process.name].get("ports", [])) == process.admin


@every_service
def test_no_environment_and_no_argument_holds_a_secret(name):
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        assert not SECRET_NAME.search(variable) or variable.endswith("_FILE"), variable
        assert not RANDOM_VALUE.fullmatch(str(value)), variable
    for argument in [*service.get("entrypoint", []), *service.get("command", [])]:
        assert not re.search(r"(?i)passw|secret", argument), argument


@every_service
def test_a_service_sees_the_credentials_of_its_own_principal_only(name, issued):
    if name not in ("credentials", "provision"):
        assert None not in shown(name)
        assert all((issued / folder).is_dir() for folder in shown(name))


@every_service
def test_an_image_is_pinned(name):
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?(@sha256:[0-9a-f]{64})?", SERVICES[name]["image"])


def test_the_images_are_of_the_versions_that_run_without_containers():
    pom = (PROJECT / "infra" / "native" / "pom.xml").read_text()
    versions = dict(re.findall(r"<artifactId>(.+)</artifactId>\s*<version>(.+)</version>", pom))
    server = versions["embedded-postgres-binaries-${postgres.platform}"].rpartition(".")[0]
    assert {SERVICES[name]["image"] for name in ("kafka", "kafka-format")} == {f"apache/kafka:{versions['kafka_2.13']}"}
    assert SERVICES["postgres"]["image"].split("-")[0] == f"postgres:{server}"


def test_our_image_has_the_version_of_the_project():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    ours = {service["image"] for service in SERVICES.values() if service["image"].startswith("headrace")}
    assert ours == {f"headrace:{version}"}


def test_the_image_is_made_of_pinned_bases_and_does_not_run_as_root():
    lines = (CONFIGURATIONS / "Dockerfile").read_text().splitlines()
    assert all(re.match(r"FROM python:3\.11\.\d+-slim-\w+", line) for line in lines if line.startswith("FROM"))
    assert [line for line in lines if line.startswith(("USER", "ENTRYPOINT"))] == [
        f"USER {HARDENING['user']}",
        'ENTRYPOINT ["python", "-m"]',
    ]


def test_each_mounted_configuration_is_there():
    files = {name: PROJECT / source["file"] for name, source in COMPOSE["configs"].items()}
    mounted = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert mounted == files.keys()
    assert all(file.is_file() for file in files.values())


def properties(text, comment="#"):
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith(comment)]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def test_kafka_differs_from_the_one_without_containers_only_in_addresses_and_places(issued, tmp_path):
    server = kafka.KafkaServer(Path("java"), tmp_path, tmp_path, issued, (1, 2))
    native = properties(server._text(tmp_path))
    ours = properties((CONFIGURATIONS / "kafka.properties").read_text())
    different = {key for key in native.keys() | ours.keys() if native.get(key) != ours.get(key)}
    assert {key for key in different if not key.startswith(("config.providers", "ssl.keystore."))} == {
        "advertised.listeners",
        "controller.quorum.voters",
        "listener.name.client.scram-sha-512.sasl.jaas.config",
        "listeners",
        "log.dirs",
        "ssl.truststore.location",
    }
    assert all("PLAINTEXT" not in value for value in ours.values())


def test_postgresql_differs_from_the_one_without_containers_only_in_addresses_and_places():
    native = properties(postgres.CONFIGURATION)
    ours = properties((CONFIGURATIONS / "postgres.conf").read_text())
    assert {key for key in native.keys() | ours.keys() if native.get(key) != ours.get(key)} == {
        "hba_file",
        "listen_addresses",
        "port",
        "ssl_ca_file",
        "ssl_cert_file",
        "ssl_key_file",
        "unix_socket_directories",
        "unix_socket_permissions",
    }


def test_postgresql_lets_nobody_in_from_the_network_without_tls_certificate_and_password():
    lines = (CONFIGURATIONS / "pg_hba.conf").read_text().splitlines()
    rules = [line.split() for line in lines if not line.startswith("#")]
    assert [rule for rule in rules if rule[0] != "local"] == [
        ["hostssl", "all", "all", "samenet", "scram-sha-256", "clientcert=verify-full"]
    ]
    assert [rule[-1] for rule in rules if rule[0] == "local"] == ["scram-sha-256"]


def test_credentials_are_made_once_and_only_their_owner_can_read_them(issued):
    def contents():
        return {file: file.read_bytes() for file in issued.rglob("*") if file.is_file()}

    before = contents()
    provision.credentials(issued.parent / "authority", issued, PLAN)
    changed = {file.name for file, content in contents().items() if before.get(file) != content}
    assert changed == {"keystore.p12"}
    readable = {file.name for file in before if file.stat().st_mode & 0o077}
    assert readable == {"ca.pem", "cert.pem", "signing.pub"}
