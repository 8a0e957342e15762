"""How the native provider runs our own processes: what each is told, and when it is ready."""

import json
import os
import ssl
from collections.abc import Collection
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from infra.native.state import State
from infra.plan import Plan, Process

ISSUER = "HEADRACE_OIDC_ISSUER"
# What a person may choose for all processes.
CHOSEN = (
    ISSUER,
    "HEADRACE_OIDC_AUDIENCE",
    "HEADRACE_TENANT",
    "HEADRACE_LOG_LEVEL",
    "HEADRACE_DRAIN_SECONDS",
    "HEADRACE_IDEMPOTENCY_HOURS",
    "HEADRACE_SNAPSHOT_EVERY",
    "HEADRACE_HOT_AGGREGATES",
    "HEADRACE_PROJECTION_LANE",
    "HEADRACE_VERIFY_RATE",
    "HEADRACE_QUOTAS",
    "HEADRACE_PROXIES",
    "HEADRACE_ORIGINS",
)


def told(state: State, credentials: Path, plan: Plan, principal: str, process: Process | None = None) -> dict[str, str]:
    """The settings of a process or job of a principal, by name; its secrets are files."""
    settings = {
        "HEADRACE_ENVIRONMENT": "development",
        "HEADRACE_PRINCIPAL": principal,
        "HEADRACE_CREDENTIALS": str(credentials),
        "HEADRACE_EVIDENCE": str(state.folder / "evidence"),
        "HEADRACE_KEYS": str(state.folder / "keys"),
        "HEADRACE_KAFKA_BOOTSTRAP": f"127.0.0.1:{state.port('kafka.api')}",
        "HEADRACE_POSTGRES_HOST": "127.0.0.1",
        "HEADRACE_POSTGRES_PORT": str(state.port("postgres.api")),
        ISSUER: f"https://127.0.0.1:{state.port('issuer.api')}",
        **{name: value for name in CHOSEN if (value := os.environ.get(name))},
    }
    if process is not None:
        settings["HEADRACE_API_PORT"] = str(state.port(f"{process.name}.api"))
        settings["HEADRACE_HEALTH_PORT"] = str(state.port(f"{process.name}.health"))
        if process.admin:
            settings["HEADRACE_ADMIN_PORT"] = str(state.port(f"{process.name}.admin"))
        if process.asks:
            settings["HEADRACE_SERVICES"] = json.dumps(services(state, plan, process.asks))
    return settings


def unheard() -> list[str]:
    """Settings in our environment that reach no process."""
    return sorted(name for name in os.environ if name.startswith("HEADRACE_") and name not in CHOSEN)


def own(plan: Plan) -> tuple[Process, ...]:
    """The processes of a plan; where a person has chosen another issuer, the development issuer is none of them."""
    return tuple(process for process in plan.processes if process.name != "issuer" or not os.environ.get(ISSUER))


def services(state: State, plan: Plan, sides: Collection[str]) -> dict[str, dict[str, str]]:
    """Where each of these sides of each domain answers."""
    found: dict[str, dict[str, str]] = {}
    for process in plan.processes:
        if process.serves is not None and process.serves[1] in sides:
            domain, side = process.serves
            found.setdefault(domain, {})[side] = f"https://127.0.0.1:{state.port(f'{process.name}.api')}"
    return found


def plain_environment() -> dict[str, str]:
    """Our own environment without settings that are meant for other processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


def ready_reason(ca_file: Path, port: int) -> str | None:
    """Why a process is not ready, or None: what its own readiness check says, over TLS."""
    connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=ssl.create_default_context(cafile=str(ca_file)))
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace")
    except (TimeoutError, OSError, HTTPException) as error:
        return f"no answer on its health port: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else body
