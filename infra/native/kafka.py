"""Apache Kafka of the native provider: one KRaft node, TLS on every listener, deny by default."""

import base64
import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import psutil

from infra.errors import StartFailed
from infra.pki import write

BROKER, ADMIN = "broker", "admin"
# Compiles with both compilers: without the second, TLS costs three times as much. It begins later, though, as most of
# what a start runs is not worth it.
JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:CompileThresholdScaling=3", "-Dlog4j2.level=WARN")
FORMAT_SECONDS = 60


class KafkaServer:
    """One node with its data in a folder."""

    def __init__(self, java: Path, jars: Path, home: Path, credentials: Path, ports: tuple[int, int]) -> None:
        self._java, self._jars, self._home, self._credentials, self._ports = java, jars, home, credentials, ports

    @property
    def data(self) -> Path:
        return self._home / "data"

    @property
    def properties(self) -> Path:
        return self._home / "server.properties"

    def prepare(self) -> None:
        """Writes today's configuration, and formats the log folder when there is none."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = self._credentials / BROKER
        write(self._home / "keystore.pem", (own / "key.pem").read_bytes() + (own / "cert.pem").read_bytes())
        write(self.properties, self._text(self.data).encode())
        if not (self.data / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        options = [*JVM, *self._classes().options(), f"-Dkafka.logs.dir={self._home}"]
        return [str(self._java), *options, "kafka.Kafka", str(self.properties)]

    def environment(self) -> dict[str, str]:
        """The class path stands here rather than among the arguments, where it would be all that one sees."""
        return {"CLASSPATH": os.pathsep.join(str(jar) for jar in sorted(self._jars.glob("*.jar")))}

    def running_pid(self) -> int | None:
        """The server that runs on this data, whoever started it."""
        for process in psutil.process_iter(["cmdline"]):
            if (process.info["cmdline"] or [""])[-1] == str(self.properties):
                return int(process.pid)
        return None

    def stopped(self) -> None:
        """To be called after an orderly stop."""
        self._classes().keep()

    def _classes(self) -> "ClassArchive":
        java = f"{self._java.resolve()} {self._java.stat().st_mtime_ns}"
        name = f"kafka-{hashlib.sha256(java.encode()).hexdigest()[:16]}.jsa"
        return ClassArchive(self._jars.with_name(name), self._home / "classes.draft")

    def _format(self) -> None:
        """Into a draft first, so that half a log folder is never taken for a whole one."""
        draft, properties = self._home / "data.draft", self._home / "format.properties"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        write(properties, self._text(draft).encode())
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The tool takes the passwords as arguments, so they are given in a file that only we can read.
        scram = [f"SCRAM-SHA-512=[name={name},password={self._password(name)}]" for name in (BROKER, ADMIN)]
        arguments = ["kafka.tools.StorageTool", "format", "-c", str(properties), f"--cluster-id={identity}"]
        arguments += [part for credential in scram for part in ("--add-scram", credential)]
        write(self._home / "format.arguments", "\n".join(f'"{argument}"' for argument in arguments).encode())
        try:
            self._run(f"@{self._home / 'format.arguments'}")
        finally:
            (self._home / "format.arguments").unlink()
            properties.unlink()
        draft.rename(self.data)

    def _run(self, *arguments: str) -> None:
        """What the tool prints contains secrets, so it goes nowhere."""
        done = subprocess.run(  # noqa: S603
            [self._java, *JVM, *self._classes().known(), *arguments],
            env=os.environ | self.environment(),
            capture_output=True,
            timeout=FORMAT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise StartFailed(f"Kafka's storage could not be formatted (exit {done.returncode})", "headrace doctor")

    def _password(self, name: str) -> str:
        return (self._credentials / name / "password").read_text().strip()

    def _text(self, data: Path) -> str:
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
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=8388608
log.dirs={data}
"""


class ClassArchive:
    """The loaded classes of an earlier run, which save a start a second or two (AppCDS).

    The first run that finds none writes a draft as it ends; only an orderly end makes the draft the archive.
    The JVM verifies an archive, and runs without one that does not fit.
    """

    def __init__(self, file: Path, draft: Path) -> None:
        self._file, self._draft = file, draft

    def options(self) -> list[str]:
        if known := self.known():
            return known
        self._draft.unlink(missing_ok=True)
        return [f"-XX:ArchiveClassesAtExit={self._draft}", *QUIET]

    def known(self) -> list[str]:
        """How to use the archive; nothing if there is none."""
        return ["-Xshare:auto", f"-XX:SharedArchiveFile={self._file}", *VERIFIED] if self._file.exists() else []

    def keep(self) -> None:
        if self._draft.exists() and not self._file.exists():
            copy = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            shutil.copyfile(self._draft, copy)
            copy.replace(self._file)
        self._draft.unlink(missing_ok=True)


QUIET = ("-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:dynamic+cds=off")
VERIFIED = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+IgnoreUnrecognizedVMOptions", "-XX:+VerifySharedSpaces", *QUIET)
