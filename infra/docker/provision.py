"""The one-shot steps of `docker-compose.yml`; running one again is harmless.

python -m infra.docker.provision credentials <authority> <credentials>   certificates, passwords and keystores
python -m infra.docker.provision servers     users, rights and topics on Kafka, roles and databases on PostgreSQL
python -m infra.docker.provision token       prints an access token of the operator, and nothing else
"""

import argparse
import base64
import secrets
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from infra import databases, notes, tokens
from infra.errors import InfraError
from infra.native import clients
from infra.native.kafka import ADMIN, BROKER
from infra.native.postgres import SUPERUSER
from infra.pki import Authority, private_key, write
from infra.plan import KAFKA_UI, OPERATOR, Plan, assemble
from infra.settings import Settings, load
from infra.topics import Admin

SERVER_PROPERTIES = "/etc/headrace/kafka.properties"


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        if given.step == "credentials":
            credentials(given.authority, given.credentials, assemble())
        elif given.step == "servers":
            servers(load(), assemble())
        else:
            print(tokens.token(load(), assemble().scopes))  # noqa: T201
    except InfraError as error:
        print(f"{error} ({error.hint})" if error.hint else error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m infra.docker.provision")
    steps = whole.add_subparsers(dest="step", required=True)
    issuing = steps.add_parser("credentials")
    issuing.add_argument("authority", type=Path)
    issuing.add_argument("credentials", type=Path)
    steps.add_parser("servers")
    steps.add_parser("token")
    return whole


def credentials(authority: Path, folder: Path, plan: Plan) -> None:
    """One folder per principal, so that each service can be shown its own and no other."""
    issuing = Authority(authority)
    for name in (SUPERUSER, BROKER, ADMIN, OPERATOR, *plan.principals):
        issuing.issue(folder / name, name)
        notes.issue(folder / name, name)
    clients.add(folder / "issuer", OPERATOR, password(folder / OPERATOR), plan.scopes)
    write_keystore(folder / KAFKA_UI, KAFKA_UI)
    if not (folder / KAFKA_UI / "login").exists():
        write(folder / KAFKA_UI / "login", secrets.token_urlsafe(24).encode())
    write_format(folder, folder / "kafka-format")


def servers(admin: Settings, plan: Plan) -> None:
    """Makes Kafka and PostgreSQL hold what the plan says, and its principals able to do no more."""
    known = [acting_as(admin, name) for name in plan.principals]
    Admin(admin).provision(known, plan.acls, plan.topics)
    databases.provision(acting_as(admin, SUPERUSER), known, plan.databases)


def acting_as(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"principal": name, "credentials": settings.credentials.with_name(name)})


def password(folder: Path) -> str:
    return (folder / "password").read_text().strip()


def write_keystore(folder: Path, name: str) -> None:
    """The certificate and key once more, as PKCS #12 under the same password, for a server that wants a keystore."""
    held = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    trusted = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    sealed = BestAvailableEncryption(password(folder).encode())
    key = private_key(folder / "key.pem")
    stored = pkcs12.serialize_key_and_certificates(name.encode(), key, held, [trusted], sealed)
    write(folder / "keystore.p12", stored)


def write_format(credentials: Path, folder: Path) -> None:
    """Arguments for Kafka's storage tool, which takes passwords that way: a file, since everybody can see arguments."""
    folder.mkdir(exist_ok=True, mode=0o700)
    if not (folder / "cluster").exists():
        write(folder / "cluster", base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"="))
    call = ["-cp", "/opt/kafka/libs/*", "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    call += ["-c", SERVER_PROPERTIES, f"--cluster-id={(folder / 'cluster').read_text()}"]
    for name in (BROKER, ADMIN):
        call += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password(credentials / name)}]"]
    write(folder / "arguments", "\n".join(f'"{argument}"' for argument in call).encode())


if __name__ == "__main__":
    sys.exit(main())
