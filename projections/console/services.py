"""Asks services to act, over mutual TLS and with the token of whoever wants it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from domains.admin import CERTIFICATES
from infra.settings import Settings
from infra.web import Problem, tls

PATIENCE = aiohttp.ClientTimeout(total=60, connect=5)
LARGEST = 64 * 1024


class Services:
    """The sides of the domains that the console may ask. Each must prove its name, wherever it is."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = settings.services
        connector = aiohttp.TCPConnector(ssl=tls.client(settings), limit=20)
        self._session = aiohttp.ClientSession(connector=connector, timeout=PATIENCE, trust_env=False)

    async def ask(self, domain: str, side: str, path: str, token: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The answer. Raises the `Problem` that a service answers with, or 503 and 504 when it does not."""
        if not (places := self._addresses.get(domain, {}).get(side)):
            raise Problem(503, "service-unavailable", f"no address is known for {domain}-{side}")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        try:
            async with self._session.post(
                places[0].rstrip("/") + path,
                data=orjson.dumps(body),
                headers=headers,
                server_hostname=CERTIFICATES[side].format(domain),
                allow_redirects=False,
            ) as answer:
                found = orjson.loads(await answer.content.read(LARGEST))
        except TimeoutError:
            raise Problem(504, "gateway-timeout", "no answer within a minute; it may go on all the same") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Problem(503, "service-unavailable", f"{domain}-{side} does not answer: {error}") from None
        if answer.status >= 400:
            slug, detail = str(found.get("type", "")).rpartition("/")[2], str(found.get("detail", ""))
            raise Problem(answer.status, slug, detail)
        return dict(found)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
