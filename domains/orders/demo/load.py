"""Sends invoices as commands through the gateway, and asks it for the views."""

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import stamina

from domains.orders.demo.client import Client
from domains.orders.demo.invoices import Invoice
from infra import consistency
from infra.partitions import partition_of

AGAIN = {429, 502, 503, 504}
ATTEMPT_SECONDS = 30
PATIENCE_SECONDS = 120.0
PAGE = 500
JSON = {"content-type": "application/json"}


class TryAgain(Exception):
    """The system was busy or away; the same request with the same key is harmless."""


@dataclass(slots=True)
class Outcome:
    """What became of the invoices; `tokens` holds, by partition, the token of the latest answer."""

    accepted: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    refused_numbers: list[str] = field(default_factory=list)
    tokens: dict[int, tuple[int, str]] = field(default_factory=dict)

    def accept(self, invoice: Invoice, token: str, partitions: int) -> None:
        self.accepted[invoice.number] = invoice.command
        known = consistency.decode(token)
        partition = partition_of(known.stream.encode(), partitions)
        self.tokens[partition] = max(self.tokens.get(partition, (0, "")), (known.position, token))

    def refuse(self, invoice: Invoice, reason: str) -> None:
        self.refused[reason] += 1
        self.refused_numbers.append(invoice.number)

    def sent(self, command: str) -> int:
        return sum(1 for done in self.accepted.values() if done == command)


class Gateway:
    """The system as a client sees it: one address and a token that is renewed when it has expired."""

    def __init__(self, client: Client, tokens: Callable[[], str]) -> None:
        self._client, self._tokens = client, tokens
        self._authorization = f"Bearer {tokens()}"

    @classmethod
    @contextmanager
    def open(cls, address: str, ca_file: str, tokens: Callable[[], str]) -> Iterator["Gateway"]:
        client = Client(address, ssl.create_default_context(cafile=ca_file), ATTEMPT_SECONDS)
        try:
            yield cls(client, tokens)
        finally:
            client.close()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers, once the system has answered for good. Raises `TryAgain` if it never does."""
        with suppress(TryAgain):
            return await self._once(method, path, body, headers)  # the machinery of repeats costs as much as a request
        given: tuple[int, Any, dict[str, str]] = (0, None, {})
        async for attempt in stamina.retry_context(on=TryAgain, attempts=None, timeout=PATIENCE_SECONDS, wait_max=2):
            with attempt:
                given = await self._once(method, path, body, headers)
        return given

    async def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        told = {"authorization": self._authorization, **JSON, **headers}
        try:
            status, content, told = await self._client.exchange(method, path, told, body or b"")
        except (OSError, EOFError) as error:
            raise TryAgain(str(error)) from error
        if status == 401:
            self._authorization = f"Bearer {await asyncio.to_thread(self._tokens)}"
            raise TryAgain("the token has expired")
        if status in AGAIN:
            raise TryAgain(f"{path} answered {status}")
        return status, orjson.loads(content), told

    async def rows(self, view: str) -> AsyncIterator[dict[str, Any]]:
        """Every row of a view, page by page."""
        cursor = ""
        while True:
            _, page, _ = await self.ask("GET", f"/v1/orders/{view}?limit={PAGE}{cursor}")
            for row in page["items"]:
                yield row
            if page["next"] is None:
                return
            cursor = f"&cursor={quote(page['next'])}"

    async def caught_up(self, views: Iterable[str], tokens: Iterable[str]) -> None:
        """Waits until every view has seen every token."""
        for view in views:
            for token in tokens:
                await self.ask("GET", f"/v1/orders/{view}?limit=1", None, **{"consistency-token": token})


async def send_all(
    gateway: Gateway, invoices: Iterable[Invoice], partitions: int, concurrency: int, step: Callable[[], None]
) -> Outcome:
    """Sends each invoice once, several at a time; each ends as accepted or refused with a reason."""
    outcome, waiting = Outcome(), iter(invoices)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(send(gateway, waiting, outcome, partitions, step))
    return outcome


async def send(
    gateway: Gateway, waiting: Iterator[Invoice], outcome: Outcome, partitions: int, step: Callable[[], None]
) -> None:
    for invoice in waiting:
        if invoice.unreadable:
            outcome.refuse(invoice, f"unreadable-line: {next(iter(invoice.unreadable.values()))}")
        else:
            await send_one(gateway, invoice, outcome, partitions)
        step()


async def send_one(gateway: Gateway, invoice: Invoice, outcome: Outcome, partitions: int) -> None:
    body = invoice.body()
    path = f"/v1/orders/{quote(invoice.number, safe='')}/{invoice.command}"
    # The key is of what is asked, so that the same file again is the same commands.
    key = hashlib.sha256(f"{path}\n".encode() + body).hexdigest()[:32]
    status, answer, headers = await gateway.ask("POST", path, body, **{"idempotency-key": f'"{key}"'})
    if status == 201:
        outcome.accept(invoice, headers["consistency-token"], partitions)
    else:
        outcome.refuse(invoice, reason(answer))


def reason(problem: dict[str, Any]) -> str:
    """Why something was refused, in a word that can be counted."""
    if "code" in problem:
        return str(problem["code"])
    for fault in problem.get("errors", ()):
        return f"{fault['field'].rpartition('.')[2] or 'body'}: {fault['code']}"
    return str(problem["type"]).rpartition("/")[2]
