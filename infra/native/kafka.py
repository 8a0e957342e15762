"""Apache Kafka of the native provider: one KRaft node, TLS on every listener, deny by default."""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from infra.errors import StartFailed
from infra.pki import write

BROKER, ADMIN = "broker", "admin"


class KafkaServer:
    """One node with its data in a folder."""

    def __init__(self, java: Path, jars: Path, home: Path, credentials: Path, ports: tuple[int, int]) -> None:
        self._java, self._jars, self._home, self._credentials, self._ports = java, jars, home, credentials, ports

    def prepare(self) -> None:
        """Writes today's configuration, and formats the log folder when there is none."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = self._credentials / BROKER
        write(self._home / "keystore.pem", (own / "key.pem").read_bytes() + (own / "cert.pem").read_bytes())
        write(self._home / "server.properties", self._properties().encode())
        if not (self._home / "data" / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        """Compiles with both compilers: without the second, TLS costs three times as much."""
        options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN", f"-Dkafka.logs.dir={self._home}"]
        return [*self._run(*options), "kafka.Kafka", str(self._home / "server.properties")]

    def _run(self, *options: str) -> list[str]:
        return [str(self._java), *options, "-cp", f"{self._jars}/*"]

    def _format(self) -> None:
        shutil.rmtree(self._home / "data", ignore_errors=True)
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The tool takes the passwords as arguments, so they are given in a file that only we can read.
        scram = [f"SCRAM-SHA-512=[name={name},password={self._password(name)}]" for name in (BROKER, ADMIN)]
        arguments = ["format", "-c", str(self._home / "server.properties"), "-t", identity]
        arguments += [part for credential in scram for part in ("--add-scram", credential)]
        options = self._home / "format.arguments"
        quoted = [f'"{argument}"' for argument in [*self._run()[1:], "kafka.tools.StorageTool", *arguments]]
        write(options, "\n".join(quoted).encode())
        done = subprocess.run([self._java, f"@{options}"], capture_output=True, timeout=60, check=False)  # noqa: S603
        options.unlink()
        if done.returncode != 0:  # what it prints contains secrets
            shutil.rmtree(self._home / "data", ignore_errors=True)
            raise StartFailed(f"Kafka's storage could not be formatted (exit {done.returncode})")

    def _password(self, name: str) -> str:
        return (self._credentials / name / "password").read_text().strip()

    def _properties(self) -> str:
        client, controller = self._ports
        jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        return f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config={jaas} username="{BROKER}" password="{self._password(BROKER)}";
ssl.keystore.type=PEM
ssl.keystore.location={self._home / "keystore.pem"}
ssl.truststore.type=PEM
ssl.truststore.location={self._credentials / BROKER / "ca.pem"}
ssl.enabled.protocols=TLSv1.3
listener.name.controller.ssl.client.auth=required
listener.name.controller.ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{BROKER};User:{ADMIN}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.dirs={self._home / "data"}
"""
