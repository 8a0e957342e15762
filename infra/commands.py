"""headrace up | down | status | doctor | token | realm | login | logout | topics"""

import webbrowser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from rich.markup import escape
from rich.table import Table

from infra import tokens
from infra.console import Exit, clear_errors, err, fail, out, printable, show_json
from infra.device import Asked
from infra.errors import NotRunning
from infra.kafka import MECHANISM, PROTOCOL, librdkafka
from infra.keycloak import realm
from infra.login import Login
from infra.native import Native, here
from infra.native.doctor import examine
from infra.native.listeners import listeners
from infra.native.processes import CHOSEN, unheard
from infra.plan import CONSOLE, KAFKA_UI, OPERATOR

app = typer.Typer()
AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout.")]
SILENCE_SECONDS = 5
LINES, LONGEST_LINE = 4, 120
COLOURS = {"running": "green", "starting": "yellow", "crashed": "red", "stopped": "dim"}


@app.command()
def up(as_json: AsJson = False) -> None:
    """Start what does not run, and wait until it is ready."""
    with clear_errors():
        system = here()
        if unknown := unheard():
            err.print(f"no process is told {', '.join(unknown)}; it can be told {', '.join(CHOSEN)}", style="yellow")
        with err.status("starting") if err.is_terminal else err.capture():
            system.up()
    show(system, as_json)


@app.command()
def down() -> None:
    """Stop what `up` started; the data stays."""
    with clear_errors():
        here().down()


@app.command()
def status(
    ports: Annotated[bool, typer.Option("--ports", help="Every listening port, as a client finds it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every component: its state, process, ports, and what it waits for."""
    with clear_errors():
        show_ports(here(), as_json) if ports else show(here(), as_json)


def show_ports(system: Native, as_json: bool) -> None:
    found = listeners(system.state, system.ca_file)
    if as_json:
        return show_json([asdict(each) for each in found])
    table = Table("owner", "serves", "port", "TLS", "client authentication", "plaintext")
    for each in found:
        table.add_row(*(str(value) for value in asdict(each).values()))
    return out.print(table)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What would keep the system from starting, and what mends it; exit 1 when there is something."""
    with clear_errors():
        found = examine(here())
    if as_json:
        show_json([asdict(finding) for finding in found])
    else:
        table = Table("", "what", "found", "try")
        for each in found:
            mark = "[green]ok[/]" if each.well else "[red]no[/]"
            table.add_row(mark, each.name, escape(each.found), "" if each.well else escape(each.mend or ""))
        out.print(table)
    if not all(finding.well for finding in found):
        raise typer.Exit(Exit.FAILURE)


def show(system: Native, as_json: bool) -> None:
    if as_json:
        show_json(system.status_json())
        return
    table = Table("component", "state", "pid", "port", "health port", "waits for")
    for part in system.status():
        numbers = [str(number or "") for number in (part.pid, part.port, part.health_port)]
        state = f"[{COLOURS.get(part.state, 'yellow')}]{part.state}[/]"
        table.add_row(part.name, state, *numbers, escape(part.waits_for or last_words(part.log_tail)))
    out.print(table)


def last_words(log_tail: list[str]) -> str:
    """The end of a log, short enough for a table; `--json` and the file have all of it."""
    return "\n".join(line[:LONGEST_LINE] for line in log_tail[-LINES:])


@app.command()
def token(
    scope: Annotated[str | None, typer.Option(help="Scopes, separated by spaces; all when left out.")] = None,
) -> None:
    """Print an access token of the development issuer, and nothing else."""
    with clear_errors():
        system = here()
        out.print(
            tokens.token(system.settings(OPERATOR), (scope or " ".join(system.plan.scopes)).split()), markup=False
        )


@app.command("realm")
def show_realm(
    console: Annotated[str | None, typer.Option(help="Where people find the web console.")] = None,
) -> None:
    """Print the realm with which Keycloak is an issuer for this system, as JSON to import."""
    with clear_errors():
        system = here()
        system.issue(OPERATOR)  # Keycloak may be told of a system before its first start
        place = console or f"https://127.0.0.1:{system.state.port(f'{CONSOLE}.api')}"
        show_json(realm(system.plan, system.settings(OPERATOR).oidc_audience, place.rstrip("/")))


@app.command("login")
def log_in(
    scope: Annotated[
        str | None, typer.Option(help="Scopes, separated by spaces; all that you have when left out.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the login page, or only print its address.")] = True,
    device: Annotated[bool, typer.Option("--device", help="Log in on another device, by a code.")] = False,
) -> None:
    """Log in as a person, in a browser. `headrace call` then acts in your name."""

    def show(address: str) -> None:
        err.print(f"Log in at {address}", markup=False)
        if browser:
            webbrowser.open(address)

    def show_code(asked: Asked) -> None:
        shorter = f", or open {asked.whole_address}" if asked.whole_address else ""
        err.print(f"On any device, open {asked.address} and type in {asked.user_code}{shorter}", markup=False)

    with clear_errors():
        login, scopes = login_of(here()), (scope or "").split()
        login.begin_elsewhere(scopes, show_code) if device else login.begin(scopes, show)
    err.print("logged in")


@app.command("logout")
def log_out() -> None:
    """Forget the tokens of the person who is logged in."""
    with clear_errors():
        login_of(here()).end()


def login_of(system: Native) -> Login:
    return Login(str(system.settings(OPERATOR).oidc_issuer), system.ca_file, system.folder)


topics = typer.Typer(
    invoke_without_command=True, help="What stands on Kafka, as a person's read-only principal sees it."
)
app.add_typer(topics, name="topics")


@topics.callback()
def list_topics(
    context: typer.Context,
    settings: Annotated[bool, typer.Option("--settings", help="What another Kafka tool needs to connect.")] = False,
    as_json: AsJson = False,
) -> None:
    """The topics with their partitions and number of records."""
    if context.invoked_subcommand is not None:
        return None
    with clear_errors():
        system = here()
        if settings:
            return show_settings(system, as_json)
        found = counted(system)
    if as_json:
        return show_json(found)
    table = Table("topic", "partitions", "records")
    for topic in found:
        table.add_row(*(str(value) for value in topic.values()))
    return out.print(table)


def show_settings(system: Native, as_json: bool) -> None:
    person = system.settings(KAFKA_UI)
    told = {
        "bootstrap": person.kafka_bootstrap,
        "security_protocol": PROTOCOL,
        "sasl_mechanism": MECHANISM,
        "username": person.principal,
        "password_file": str(person.password_file),
        "ca_file": str(person.ca_file),
    }
    if as_json:
        return show_json(told)
    return out.print("\n".join(f"{name} = {value}" for name, value in told.items()), markup=False)


def reader(system: Native) -> Consumer:
    """A consumer that joins no group: it assigns partitions to itself and commits nothing."""
    more = {"group.id": "headrace-topics", "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0}
    return Consumer(librdkafka(system.settings(KAFKA_UI), **more))


def counted(system: Native) -> list[dict[str, object]]:
    consumer = reader(system)
    try:
        known = consumer.list_topics(timeout=5).topics
        return [
            {"topic": name, "partitions": len(topic.partitions), "records": records(consumer, name, topic.partitions)}
            for name, topic in sorted(known.items())
            if not name.startswith("__")
        ]
    except KafkaException:
        raise NotRunning("Kafka does not answer", "headrace up") from None
    finally:
        consumer.close()


def records(consumer: Consumer, topic: str, partitions: object) -> int:
    """How many offsets lie between the ends; for a compacted topic, at most so many records."""
    total = 0
    for partition in range(len(partitions)):  # type: ignore[arg-type]  # librdkafka's stubs name no type
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        total += high - low
    return total


@topics.command()
def tail(
    topic: str,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest record.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many records of each partition.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last records of each partition as they stand."""
    with clear_errors():
        consumer = reader(here())
        try:
            ends = places(consumer, topic, limit, from_beginning)
            for message in messages(consumer, ends, limit, follow):
                show_record(message, as_json)
        except KafkaException:
            raise NotRunning("Kafka does not answer", "headrace up") from None
        finally:
            consumer.close()


def places(consumer: Consumer, topic: str, limit: int, from_beginning: bool) -> dict[int, int]:
    """Points the consumer where to begin; how many records of each partition are there to be read now."""
    known = consumer.list_topics(timeout=5).topics
    if topic not in known:
        raise fail(f"there is no topic {topic}", Exit.NOT_FOUND, "headrace topics")
    begins, ends = [], {}
    for partition in known[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
        begins.append(TopicPartition(topic, partition, low if from_beginning else max(low, high - limit)))
        ends[partition] = high
    consumer.assign(begins)
    return ends


def messages(consumer: Consumer, ends: dict[int, int], limit: int, follow: bool) -> Iterator[Message]:
    """At most `limit` of each partition of what is there now; with `follow` all, without an end."""
    left = dict.fromkeys(ends, limit)
    waiting = {place.partition for place in consumer.assignment() if place.offset < ends[place.partition]}
    while follow or waiting:
        if (message := consumer.poll(1 if follow else SILENCE_SECONDS)) is None:
            if follow:
                continue
            return
        if message.error():
            continue
        partition = message.partition()
        if not follow and partition not in waiting:
            continue
        yield message
        left[partition] -= 1
        if message.offset() + 1 >= ends[partition] or not left[partition]:
            waiting.discard(partition)


def show_record(message: Message, as_json: bool) -> None:
    key, value = (part.decode(errors="backslashreplace") if part else None for part in (message.key(), message.value()))
    if as_json:
        show_json({"partition": message.partition(), "offset": message.offset(), "key": key, "value": value})
    else:
        out.print(f"[cyan]{escape(printable(str(key)))}[/] ", end="")
        out.print(printable(str(value)), markup=False)
