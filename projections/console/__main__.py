"""`python -m projections.console`: the web console."""

from contextlib import AsyncExitStack

from domains.discovery import discover
from infra import logs, settings
from infra.beside import beside
from infra.health import Health
from infra.oidc import Verifier
from infra.settings import Settings
from infra.web import run, serve
from projections.console import assets
from projections.console.acts import Acts
from projections.console.app import console
from projections.console.front import Front
from projections.console.login import Login
from projections.console.pages import Pages
from projections.console.reading import Reading
from projections.console.services import Services
from projections.console.sessions import Sessions
from projections.console.watching import Place, Watch
from projections.serving.tail import Tails
from projections.watch import watching


async def main() -> None:
    told = settings.load().need("kafka_bootstrap", "postgres_host", "oidc_issuer", "assets")
    assert told.assets is not None  # noqa: S101  # needed above
    logs.configure(told)
    health, verifier = Health(), Verifier(told)
    health.check("identity provider", verifier.unready)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(beside(health, {"issuer keys": verifier.load_as_soon_as_possible()}))
        places = {domain: await opened(stack, told, domain) for domain in discover()}
        services = await stack.enter_async_context(Services(told))
        watch, pages = Watch(places), Pages(assets.ours() | assets.vendored(told.assets))
        await stack.enter_async_context(watch.running(health))
        address = (told.address or f"https://{told.host}:{told.api_port}").rstrip("/")
        front = Front(address, Sessions(), Login(told, verifier, address), pages, watch)
        app = console(told, health, front, Reading(front, places, watch), Acts(front, services))
        await serve(told, app, health)


async def opened(stack: AsyncExitStack, told: Settings, name: str) -> Place:
    domain = discover()[name]
    watcher, store, views = await stack.enter_async_context(watching(told, domain))
    tails = Tails(told, domain)
    stack.push_async_callback(tails.close)
    return Place(domain, store, views, tails, watcher)


if __name__ == "__main__":
    run(main)
