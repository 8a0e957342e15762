"""headrace store prove | checkpoint | verify"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from eventstore.console import AsJson, Files, Name, Place, place, run, store
from eventstore.errors import EvidenceBroken, NotSealed, WitnessUnavailable
from eventstore.evidence import place as kept
from eventstore.evidence.checkpoint import opened
from eventstore.evidence.kafka import KafkaWitness
from eventstore.evidence.postgres import PostgresLedger
from eventstore.evidence.proof import Proof, check, prove
from eventstore.evidence.verify import Verdict, verify
from eventstore.evidence.witness import FileWitness
from eventstore.ranges.moving import WholeLedger
from infra import notes
from infra.console import Exit, err, fail, out, show_json
from infra.errors import NoteRefused
from infra.notes import Keys
from infra.plan import KAFKA_UI, OPERATOR

WAIT_SECONDS = 15.0
POLL_SECONDS = 0.1

KeyFile = Annotated[Path | None, typer.Option("--key", help="The public keys to trust, instead of the published ones.")]
FromCheckpoint = Annotated[
    Path | None, typer.Option("--from-checkpoint", help="Checkpoints that were kept elsewhere, to be trusted instead.")
]


@store.command("prove")
def prove_command(  # noqa: PLR0917  # they are options
    position: Annotated[int | None, typer.Argument(min=1, help="The position of an event.")] = None,
    check_file: Annotated[Path | None, typer.Option("--check", help="Hold a proof against the key; no server.")] = None,
    since: FromCheckpoint = None,
    key: KeyFile = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Prove that an event stands in the log as it was sealed; --json gives a proof that holds without the store.

    With --from-checkpoint it also proves that the log goes on from that checkpoint. Exit 5: it does not hold.
    """
    if (position is None) == (check_file is None):
        raise fail("give a position, or --check FILE", Exit.USAGE)
    if check_file is not None:
        return checked(check_file, key, name, as_json)
    where, old = place(name), None if since is None else notes_of(since)[-1]

    async def action() -> Proof:
        with told():
            async with PostgresLedger.open(where.conninfo()) as ledger:
                return await prove(ledger, trusted(where, key), kept.origin(where.name), position or 0, old)

    proof = run(action)
    if as_json:
        return show_json(proof)
    covering = opened(proof["checkpoint"], trusted(where, key))
    out.print(f"position {position} is in the log of {covering.size} events that was signed at {covering.time}")
    return out.print_json(data=proof["event"])


def checked(file: Path, key: Path | None, name: str | None, as_json: bool) -> None:
    keys = read_keys(key) if key else trusted(place(name), None)
    try:
        proof = json.loads(file.read_bytes())
    except OSError as error:
        raise fail(f"{file}: {error.strerror}", Exit.NOT_FOUND) from None
    except ValueError:
        raise fail(f"{file} is no proof", Exit.UNVERIFIED) from None
    with told():
        covering = check(proof, keys)
    position = proof["event"]["position"]
    if as_json:
        found = {"holds": True, "position": position, "origin": covering.origin, "size": covering.size}
        return show_json({**found, "time": covering.time.isoformat()})
    return out.print(f"it holds: position {position} of {covering.origin}, signed at {covering.time}")


@store.command()
def checkpoint(name: Name = None, key: KeyFile = None, as_json: AsJson = False) -> None:
    """Wait until a signed checkpoint covers all events of now, and show it. Exit 75: none did in time."""
    where = place(name)

    async def action() -> tuple[str, int, float]:
        async with PostgresLedger.open(where.conninfo()) as ledger:
            head, began = await ledger.head(), monotonic()
        keys, origin = trusted(where, key), kept.origin(where.name)
        while True:
            note = await witness_file(where).latest()
            with told():
                size = 0 if note is None else opened(note, keys, origin).size
            if size >= head or monotonic() - began > WAIT_SECONDS:
                return note or "", head, monotonic() - began
            await asyncio.sleep(POLL_SECONDS)

    note, head, waited = run(action)
    if not note:
        raise fail("there is no checkpoint", Exit.NOT_FOUND)
    made = opened(note, trusted(where, key))
    if as_json:
        found = {"origin": made.origin, "size": made.size, "root": made.root.hex(), "time": made.time.isoformat()}
        show_json({**found, "head": head, "waited_seconds": round(waited, 3), "note": note})
    else:
        sys.stdout.write(note)
    if made.size < head:
        raise fail(f"it covers {made.size} of {head} events", Exit.TRY_AGAIN)


@store.command("verify")
def verify_command(
    since: FromCheckpoint = None,
    key: KeyFile = None,
    files: Files = None,
    name: Name = None,
    as_json: AsJson = False,
) -> None:
    """Hold the whole log against its seals and the checkpoints kept outside; name the first bad position.

    Exit 0: the log is what was signed. Exit 5: it is not. Exit 69: a server does not answer.
    """
    where = place(name)

    async def action() -> tuple[Verdict, float]:
        keys, began = trusted(where, key), monotonic()
        with told(), bar() as progress:
            witnessed = await checkpoints(where) if since is None else notes_of(since)
            task = progress.add_task("verifying", total=None)
            async with WholeLedger.open(where.conninfo()) as ledger:
                await ledger.look(files)

                def heard(done: int, head: int) -> None:
                    progress.update(task, completed=done, total=max(done, head))

                began = monotonic()
                verdict = await verify(ledger, keys, kept.origin(where.name), witnessed, heard)
        return verdict, monotonic() - began

    verdict, seconds = run(action)
    rate = round(verdict.events / seconds) if seconds else 0
    if as_json:
        show_json({**asdict(verdict), "seconds": round(seconds, 3), "events_per_second": rate})
    if verdict.fault is not None:
        fault = verdict.fault
        span = f"{fault.position}" if fault.until <= fault.position else f"{fault.position} to {fault.until}"
        raise fail(f"position {span}: {fault.reason}: {fault.detail}", Exit.UNVERIFIED)
    if not as_json:
        out.print(f"{verdict.events} events are what was signed, {rate}/s in {seconds:.1f} s")
        out.print(f"{verdict.witnessed} are covered by checkpoints outside, {verdict.unsealed} are not sealed yet")


@contextmanager
def told() -> Iterator[None]:
    """Turns what does not hold into a sentence and an exit code."""
    try:
        yield
    except NotSealed as error:
        raise fail(str(error), Exit.TRY_AGAIN) from None
    except WitnessUnavailable as error:
        raise fail(str(error), Exit.DEPENDENCY_DOWN, "headrace up") from None
    except (EvidenceBroken, NoteRefused) as error:
        raise fail(str(error), Exit.UNVERIFIED) from None


def trusted(where: Place, key: Path | None) -> Keys:
    """The keys of a file, or those that the store's sealer has published."""
    return read_keys(key or kept.keys_file(evidence(where), where.name))


def read_keys(file: Path) -> Keys:
    try:
        return Keys(file.read_text().splitlines())
    except OSError as error:
        raise fail(f"{file}: {error.strerror}", Exit.NOT_FOUND) from None


def evidence(where: Place) -> Path:
    return where.system.settings(OPERATOR).evidence or Path()


def witness_file(where: Place) -> FileWitness:
    return FileWitness(kept.file(evidence(where), where.name))


async def checkpoints(where: Place) -> Sequence[str]:
    """All that the witnesses hold: the file and the topic."""
    on_kafka = KafkaWitness(where.system.settings(KAFKA_UI), kept.topic(where.name))
    return list(dict.fromkeys([*await witness_file(where).notes(), *await on_kafka.notes()]))


def notes_of(file: Path) -> Sequence[str]:
    """The checkpoints of a file."""
    try:
        found = notes.split(file.read_text())
    except (OSError, ValueError):
        found = []
    if not found:
        raise fail(f"there is no checkpoint in {file}", Exit.NOT_FOUND)
    return found


class Rate(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f}/s")


def bar() -> Progress:
    """Shown to people only."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
