"""The page on which people read the documents: it stands here as a whole, and loads nothing from anywhere else."""

import os
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from tests.browser import browsing, found

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("openapi", "openapi-v1", "openapi-parcels", "asyncapi", "asyncapi-parcels")
LOADED = re.compile(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]*)"')
# For pictures of it: HEADRACE_PICTURES=<folder>.
PICTURES = os.environ.get("HEADRACE_PICTURES")


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_loads_what_is_here_and_nothing_else(world, name):
    page = await world.ask("GET", f"/docs/{name}", headers={"authorization": ""})
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"'unsafe|https?:", page.headers["content-security-policy"])
    loaded = LOADED.findall(page.body.decode())
    assert len(loaded) >= 4
    for address in (*loaded, f"/documents/{name}.json"):
        assert urlsplit(urljoin(f"{world.url}/docs/{name}", address)).netloc == urlsplit(world.url).netloc
        assert (await world.ask("GET", address, headers={"authorization": ""})).status == 200
    assert f'href="/docs/{name}" aria-current=page' in page.body.decode()


async def test_an_asyncapi_page_says_what_stands_on_kafka(world):
    page = (await world.ask("GET", "/docs/asyncapi")).body.decode()
    assert "<h2>parcels.events.v1</h2>" in page
    assert "<code>parcels.ParcelSent.v1</code>" in page
    assert "<code>parcels.commands.send</code>" in page
    assert "headrace-origin-topic" in page


PACKED = ("/openapi.json", *(f"/documents/{name}.json" for name in NAMES), "/docs/asyncapi")
PACKED += ("/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css")
SHORT = ("/docs", "/docs/assets/start.js", "/docs/assets/favicon.png")


@pytest.mark.parametrize("path", [*PACKED, *SHORT, "/v1"])
async def test_who_has_it_is_not_sent_it_again_and_who_takes_it_gets_it_packed(world, path):
    plain = await world.ask("GET", path, headers={"accept-encoding": "identity"})
    tag = plain.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert plain.headers["cache-control"] == "public, max-age=300"
    packed = await world.ask("GET", path, headers={"accept-encoding": "gzip"})
    assert packed.body == plain.body  # the client unpacks it
    assert packed.headers.get("content-encoding") == ("gzip" if path in PACKED else None)
    assert packed.headers["etag"] == (f"W/{tag}" if path in PACKED else tag)
    assert packed.headers.get("vary") == plain.headers.get("vary") == ("accept-encoding" if path in PACKED else None)
    if path in PACKED:
        assert int(packed.headers["content-length"]) < len(plain.body) / 2
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for takes, shown in (("identity", tag), ("gzip", packed.headers["etag"])):
            again = await world.ask("GET", path, headers={"if-none-match": known, "accept-encoding": takes})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", shown)
            assert again.headers["cache-control"] == plain.headers["cache-control"]
    other = await world.ask("HEAD", path, headers={"if-none-match": '"other"', "accept-encoding": "identity"})
    assert (other.status, other.headers["content-length"]) == (200, str(len(plain.body)))


@pytest.mark.parametrize("path", ["/docs/nothing", "/docs/assets/nothing.js", "/docs/assets/..%2fdocs.html"])
async def test_what_is_not_there_is_a_problem(world, path):
    answer = await world.ask("GET", path)
    assert (answer.status, answer.problem) == (404, "not-found")


if found():

    async def test_a_browser_shows_each_address_and_complains_of_nothing(world, tmp_path):
        async with browsing(tmp_path, [world.settings.cert_file]) as page:
            await page.size(1280, 900)
            await page.go(f"{world.url}/docs")
            await page.until("document.querySelectorAll('.opblock').length > 5")
            assert "/v1/parcels/{id}/send" in await page.ask("document.body.innerText.replaceAll('\\u200b', '')")
            # White on a colour that lies behind it: nothing of ours may lie between.
            badges = "[...document.querySelectorAll('.info .version')].map(one => getComputedStyle(one).background)"
            assert len({*await page.ask(badges)}) == 1
            assert (await page.ask(badges))[0].startswith("rgba(0, 0, 0, 0)")
            hosts = "[...new Set(performance.getEntriesByType('resource').map(one => new URL(one.name).host))]"
            assert await page.ask(hosts) == [urlsplit(world.url).netloc]
            if PICTURES:
                (Path(PICTURES) / "docs.png").write_bytes(await page.picture())
            await page.go(f"{world.url}/docs/asyncapi")
            assert await page.ask("document.querySelectorAll('section').length") > 1
            assert page.complaints == []
