"""`python -m gateway`: the front door."""

from domains.discovery import discover
from gateway.app import gateway
from infra import logs, settings
from infra.health import Health
from infra.web import run, serve


async def main() -> None:
    told = settings.load()
    logs.configure(told)
    health = Health()
    await serve(told, gateway(told, health, discover()), health)


if __name__ == "__main__":
    run(main)
