"""The other gateway processes: who keeps the count of which key, and asking them."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from hashlib import blake2b

import orjson
import psutil

from gateway.errors import BadAnswer, BrokenOff, SetAside
from gateway.instance import Instance, Limits, now
from gateway.upstream import RESOLVE_SECONDS, Place, place, resolved
from infra.settings import Settings
from infra.web import tls

log = logging.getLogger(__name__)

GATEWAY = "gateway"
ASK_SECONDS = 0.5
LIMITS = Limits(
    connections=16, waiting=64, connect_seconds=0.25, queue_seconds=0.25, answer_seconds=ASK_SECONDS, failures=1
)


class Peers:
    """All gateway processes, this one included, as `settings.peers` names them: the same list for each."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = [place(address) for address in settings.peers]
        self._port, self._tls = settings.health_port, tls.client(settings)
        self._instances: dict[Place, Instance] = {}
        self._own: frozenset[Place] = frozenset()

    @property
    def count(self) -> int:
        """How many processes there are, at least 1."""
        return max(1, len(self._instances))

    async def look(self) -> None:
        """Finds the processes, again and again until cancelled: names in DNS may come to lead elsewhere."""
        while self._addresses:
            await self.find()
            await asyncio.sleep(RESOLVE_SECONDS)

    async def find(self) -> None:
        places = sorted({found for address in self._addresses for found in await resolved(address)})
        if self._addresses and not places:
            log.warning("no gateway process can be found: each counts on its own")
        for gone in self._instances.keys() - places:
            self._instances.pop(gone).close()
        for new in set(places) - self._instances.keys():
            self._instances[new] = Instance(new, GATEWAY, self._tls, LIMITS)
        here = local_addresses()
        self._own = frozenset(one for one in places if one[0] in here and one[1] == self._port)

    def owner(self, kind: str, key: str) -> Instance | None:
        """The process that counts this key; None if it is this one. Rendezvous hashing: few keys move with a change."""
        if len(self._instances) < 2:
            return None
        chosen = max(self._instances, key=lambda one: weight(one, f"{kind} {key}"))
        return None if chosen in self._own else self._instances[chosen]

    async def ask(self, owner: Instance, path: str, question: object) -> dict[str, float]:
        """What another process answers. Raises `UpstreamError`, at once while one that failed is left in peace."""
        if not owner.breaker.allows(now()):
            raise SetAside("a gateway process has failed", owner.breaker.waits(now()))
        body = orjson.dumps(question)
        head = f"POST {path} HTTP/1.1\r\nhost: {GATEWAY}\r\ncontent-type: application/json\r\n"
        request = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
        deadline = now() + ASK_SECONDS
        try:
            connection = await owner.ask(request, deadline)
        except BrokenOff as error:
            if not error.pooled:
                raise
            # It went away and came back. What the first question took, if anything, is lost to this span.
            connection = await owner.ask(request, deadline, fresh=True)
        try:
            answer = connection.take() + b"".join([part async for part in connection.rest(ASK_SECONDS)])
            if connection.status != 200:
                raise BadAnswer(f"a gateway process answers {connection.status}")
            told: dict[str, float] = orjson.loads(answer)
        finally:
            owner.release(connection)
        return told

    def close(self) -> None:
        for instance in self._instances.values():
            instance.close()


def weight(one: Place, key: str) -> bytes:
    return blake2b(f"{one[0]} {one[1]} {key}".encode(), digest_size=8).digest()


def local_addresses() -> frozenset[str]:
    families: Sequence[int] = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        one.address.partition("%")[0]
        for found in psutil.net_if_addrs().values()
        for one in found
        if one.family in families
    )
