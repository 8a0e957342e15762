"""A service behind the gateway: its instances, which of them is asked, and careful repeats."""

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from random import sample, uniform

from gateway.breaker import Budget
from gateway.connection import Connection
from gateway.errors import BrokenOff, SetAside, Unreachable
from gateway.instance import Instance, Limits, now
from infra.errors import SettingsError

ADDRESS = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:(?P<port>[0-9]{1,5}))?/?")
RESOLVE_SECONDS = 5.0
MOST_INSTANCES_TRIED = 3
LONGEST_PAUSE = 0.05

log = logging.getLogger(__name__)
Place = tuple[str, int]
Sent = tuple[Instance, Connection]


class Upstream:
    """One service, at one address or several; a name in DNS stands for all that it leads to."""

    def __init__(self, addresses: Sequence[str], name: str, tls: ssl.SSLContext, limits: Limits) -> None:
        self._addresses = [place(address) for address in addresses]
        self.addresses, self._name, self._tls, self.limits = addresses, name, tls, limits
        self.authority = name.encode()
        self._instances: dict[Place, Instance] = {}
        self._led_to: dict[Place, list[Place]] = {}
        self._resolve_at, self._resolving = 0.0, asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None
        self._budget = Budget()

    @property
    def instances(self) -> list[dict[str, object]]:
        """How each of its instances does that was found."""
        return [one.told() for one in self._instances.values()]

    def exchange(
        self, request: bytes, *, repeatable: bool, seconds: float, endless: bool = False, sent: Sent | None = None
    ) -> "Exchange":
        """A connection on which the answer to the request has begun, within so many seconds in all; for `async with`.

        An `endless` answer takes none of the connections that others wait for. What was `sent` is not asked again
        unless it must be repeated. Raises `UpstreamError`.
        """
        return Exchange(self._begun(request, repeatable, seconds, endless, sent), endless=endless)

    def ready(self) -> Instance | None:
        """The instance that a request can be sent to at once, if nothing has to be found out or waited for."""
        moment = now()
        candidates = [one for one in self._instances.values() if one.breaker.allows(moment)]
        if moment >= self._resolve_at or not candidates:
            return None
        chosen = least_loaded(candidates)
        return chosen if chosen.ready(moment) else None

    def send(self, instance: Instance, request: bytes, deadline: float) -> Sent:
        """Sends it to the instance that is `ready`."""
        self._budget.earn()
        return instance, instance.send(request, deadline)

    async def known(self) -> list[Instance]:
        """Its instances. If it is time, where they are is looked up, which is waited for only if none is known."""
        if now() >= self._resolve_at:
            with suppress(Unreachable):
                await self._found()
        return list(self._instances.values())

    async def close(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
        for instance in self._instances.values():
            instance.close()

    async def _begun(self, request: bytes, repeatable: bool, seconds: float, endless: bool, sent: Sent | None) -> Sent:
        """Asks until there is an answer, and says of which instance.

        What was not sent goes to another instance; what may have been is repeated
        once, if that does no harm: an idle connection may die just when it is used again.
        """
        began = now()
        if began >= self._resolve_at or not self._instances:
            await self._found()
        if sent is None:
            self._budget.earn()
        deadline, repeated, tried = began + seconds, False, list[Instance]()
        while True:
            instance = self._choose(tried) if sent is None else sent[0]
            try:
                if sent is not None:
                    return instance, await instance.answered(sent[1])
                return instance, await instance.ask(request, deadline, fresh=repeated, endless=endless)
            except Unreachable:
                tried.append(instance)
                if len(tried) >= MOST_INSTANCES_TRIED or not self._others(tried):
                    raise
            except BrokenOff as error:
                elsewhere = bool(self._others([instance]))
                if not repeatable or repeated or not (error.pooled or elsewhere) or not self._budget.spend():
                    raise
                repeated, sent = True, None
                if elsewhere:
                    tried.append(instance)
                    await asyncio.sleep(uniform(0, LONGEST_PAUSE))  # noqa: S311  # no secret

    def _others(self, tried: Sequence[Instance]) -> list[Instance]:
        moment = now()
        return [one for one in self._instances.values() if one not in tried and one.breaker.allows(moment)]

    def _choose(self, tried: Sequence[Instance]) -> Instance:
        """The less loaded of two that are well. Raises `SetAside` if none is."""
        candidates = self._others(tried)
        if not candidates:
            waits = min((one.breaker.waits(now()) for one in self._instances.values()), default=1.0)
            raise SetAside(f"{self._name} has failed again and again", waits)
        return least_loaded(candidates)

    async def _found(self) -> None:
        """Sees to it that the instances are known. Raises `Unreachable` if there are none."""
        if self._instances:
            if self._refresh is None or self._refresh.done():
                self._refresh = asyncio.create_task(self._resolve(), name=f"addresses of {self._name}")
            return
        await self._resolve()
        if not self._instances:
            raise Unreachable(f"no address of {self._name} is known")

    async def _resolve(self) -> None:
        async with self._resolving:
            if now() < self._resolve_at:
                return
            # A name that leads nowhere for a moment takes no instance away: whether one is there, it says itself.
            self._led_to |= {one: found for one in self._addresses if (found := await resolved(one))}
            places = [found for led_to in self._led_to.values() for found in led_to]
            self._resolve_at = now() + RESOLVE_SECONDS
            if not places:
                log.warning("no address of %s can be found", self._name)
                return
            for gone in self._instances.keys() - places:  # what it was asked, it answers
                self._instances.pop(gone).close()
            for new in places:
                if new not in self._instances:
                    self._instances[new] = Instance(new, self._name, self._tls, self.limits)


class Exchange:
    """What `Upstream.exchange` is: with a generator it would cost three times as much."""

    __slots__ = ("_begun", "_connection", "_endless", "_instance")

    def __init__(self, begun: Coroutine[None, None, Sent], *, endless: bool) -> None:
        self._begun, self._endless = begun, endless

    async def __aenter__(self) -> Connection:
        self._instance, self._connection = await self._begun
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        self._instance.release(self._connection, endless=self._endless)


def least_loaded(candidates: Sequence[Instance]) -> Instance:
    """The less loaded of two of those that are well; if none is, of those that are ready, and else of all."""
    if len(candidates) == 1:
        return candidates[0]
    moment = now()
    chosen: Sequence[Instance] = [one for one in candidates if one.well(moment)]
    chosen = chosen or [one for one in candidates if one.unready is None] or candidates
    return chosen[0] if len(chosen) == 1 else min(sample(chosen, 2), key=lambda one: one.load)


async def resolved(address: Place) -> list[Place]:
    """The places that an address leads to; none if its name is unknown."""
    host, port = address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [address]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys((str(where[0]), port) for *_, where in found))


def place(address: str) -> Place:
    """Host and port of an address. Raises `SettingsError` for one that is not `https://host[:port]`."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise SettingsError(f"a service's address is https://host:port, not {address!r}")
    return match["host"].strip("[]"), int(match["port"] or 443)
