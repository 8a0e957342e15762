"""Where a store's evidence lies outside its database, and the sealer that puts it there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eventstore.evidence.kafka import KafkaWitness
from eventstore.evidence.postgres import PostgresLedger
from eventstore.evidence.sealer import Sealer
from eventstore.evidence.witness import FileWitness, Witness
from eventstore.lead import PostgresLead
from eventstore.store import EventStore
from infra.notes import Signer
from infra.pki import write
from infra.settings import Settings


def origin(store: str) -> str:
    """The name that a store's checkpoints bear."""
    return f"headrace/{store}"


def topic(store: str) -> str:
    return f"{store}.checkpoints.v1"


def file(folder: Path, store: str) -> Path:
    return folder / f"{store}.checkpoints"


def keys_file(folder: Path, store: str) -> Path:
    """The public keys that have signed a store's checkpoints, a line each."""
    return folder / f"{store}.pub"


@asynccontextmanager
async def sealer_of(settings: Settings, store: str, log: EventStore, conninfo: str) -> AsyncIterator[Sealer]:
    """The sealer of a store, signing as this process's principal. Raises `SettingsError`."""
    signer = Signer.load(settings.credentials, settings.principal)
    on_kafka = KafkaWitness(settings, topic(store))
    witnesses: list[Witness] = [on_kafka]
    if settings.evidence is not None:
        publish(keys_file(settings.evidence, store), signer)
        witnesses.insert(0, FileWitness(file(settings.evidence, store)))
    try:
        yield Sealer(
            origin(store),
            log,
            lambda: PostgresLedger.open(conninfo),
            witnesses=witnesses,
            signer=signer,
            lead=PostgresLead(conninfo, "sealer"),
        )
    finally:
        await on_kafka.close()


def publish(keys: Path, signer: Signer) -> None:
    keys.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = keys.read_text().splitlines() if keys.exists() else []
    if signer.public not in known:
        write(keys, "".join(f"{line}\n" for line in [*known, signer.public]).encode(), 0o644)
