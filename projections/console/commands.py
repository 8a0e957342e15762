"""headrace console | kafka-ui"""

import shutil
import subprocess
import webbrowser
from typing import Annotated

import typer

from infra.console import clear_errors, err, out
from infra.errors import NotRunning
from infra.native import Native, here
from infra.plan import CONSOLE, KAFKA_UI

app = typer.Typer()

SECONDS = 10
Browser = Annotated[bool, typer.Option(help="Open it in a browser, or only print its address.")]


@app.command("console")
def console(browser: Browser = True) -> None:
    """Open the web console: projections, rows, streams and parked keys, live."""
    with clear_errors():
        show(address(here()), browser)


@app.command("kafka-ui")
def kafka_ui(browser: Browser = True) -> None:
    """Open Kafka UI, which runs where Docker does; elsewhere the console shows the same rows."""
    with clear_errors():
        if (found := published()) is not None:
            return show(found, browser)
        err.print("Kafka UI does not run here: it needs Docker (docker compose up). The console shows the same rows.")
        return show(address(here()), browser)


def address(system: Native) -> str:
    """Where the console is. Raises `NotRunning`."""
    if system.state.running(CONSOLE) is None:
        raise NotRunning("the console does not run", "headrace up")
    return f"https://127.0.0.1:{system.state.port(f'{CONSOLE}.api')}"


def published() -> str | None:
    """Where `docker compose` has published Kafka UI, if it runs."""
    if (docker := shutil.which("docker")) is None:
        return None
    call = [docker, "compose", "port", KAFKA_UI, "8443"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    place = done.stdout.strip()
    return f"https://{place}" if done.returncode == 0 and place else None


def show(found: str, browser: bool) -> None:
    out.print(found, markup=False)
    if browser:
        webbrowser.open(found)
