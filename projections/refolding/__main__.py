"""`python -m projections.refolding <domain>`: rebuilds views of one domain when people ask for it."""

import argparse
import sys

from domains.discovery import discover
from domains.kernel import Domain
from infra import logs, settings
from infra.beside import beside
from infra.health import Health
from infra.oidc import Verifier
from infra.settings import Settings
from infra.web import run, serve
from projections.refolding.service import Rebuilds, rebuilding_side


async def main(domain: Domain, told: Settings) -> None:
    logs.configure(told)
    health, verifier = Health(), Verifier(told)
    health.check("identity provider", verifier.unready)
    rebuilds = Rebuilds(domain, told)
    async with beside(health, {"issuer keys": verifier.load_as_soon_as_possible()}):
        try:
            await serve(told, rebuilding_side(domain, rebuilds, told, health, verifier), health)
        finally:
            await rebuilds.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m projections.refolding")
    parser.add_argument("domain", choices=list(discover()))
    named = discover()[parser.parse_args(sys.argv[1:]).domain]
    run(lambda: main(named, settings.load().need("postgres_host", "oidc_issuer")))
