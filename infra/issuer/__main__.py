"""`python -m infra.issuer`: the development issuer of access tokens."""

from infra import logs, settings
from infra.health import Health
from infra.issuer.app import issuer
from infra.web import run, serve


async def main() -> None:
    told = settings.load()
    logs.configure(told)
    health = Health()
    await serve(told, issuer(told, health), health)


if __name__ == "__main__":
    run(main)
