"""Rate limits that hold over all gateway processes together, without a server of their own.

Each key has one process that counts it, its owner. The others take leases from it: a hundredth of the quota, shared by
all processes, so that what lies unused elsewhere is at most 1 % of it. An owner that cannot be reached leaves each of
the others its share of the quota.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from math import ceil
from operator import itemgetter
from time import monotonic
from typing import Any, NamedTuple

import orjson
from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import UpstreamError
from gateway.instance import Instance
from gateway.peers import GATEWAY, Peers
from gateway.quota import MOST_KEYS, Ledger, Quota
from infra.settings import Settings
from infra.web import Problem, invalid

PATH = "/limits"
PARTS = 100
MOST_TOLD = 20
DEFAULTS = {
    "command": Quota(120_000, 60),
    "read": Quota(240_000, 60),
    "admin": Quota(60_000, 60),
    "stranger": Quota(12_000, 60),
}


@dataclass(slots=True)
class Lease:
    """What another process has given us of a key's quota, and what it said when there was no more.

    `used` counts what was used of it here in the span that began at `since`, as long as the share has not been told.
    """

    units: int = 0
    used: int = 0
    since: float = 0.0
    until: float = 0.0
    left_elsewhere: int = 0
    frees_at: float = 0.0
    refused_until: float = 0.0
    waiting: int = 0
    renewal: asyncio.Task[None] | None = None


class Verdict(NamedTuple):
    """Whether one more request is in the quota, what is left, and in how many seconds units come back."""

    kind: str
    quota: Quota
    allowed: bool
    left: int
    seconds: float

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit` and `RateLimit-Policy`, as structured fields."""
        left = b'"%b";r=%d;t=%d' % (self.kind.encode(), max(0, self.left), self.wait)
        return [policy(self.kind, self.quota), (b"ratelimit", left)]

    @property
    def lines(self) -> bytes:
        """The same, written out."""
        kind, quota, _, left, _ = self
        return announced(kind, quota) % (max(0, left), self.wait)

    @property
    def wait(self) -> int:
        """Whole seconds after which a request succeeds."""
        return min(ceil(self.seconds + 0.001), self.quota.seconds + 1) if self.seconds else 0

    def refusal(self) -> Problem:
        detail = f"{self.quota.units} requests in {self.quota.seconds} s are allowed here"
        wait = {"retry-after": str(max(1, self.wait))}
        more: dict[str, Any] = {"violated-policies": [self.kind]}
        return Problem(429, "quota-exceeded", detail, headers=wait, **more)


class Asked(BaseModel):
    """What one process asks of another."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    key: str = Field(max_length=1024)
    units: int = Field(ge=1)


class Limiter:
    """Counts what each key asks for, by kind of route."""

    def __init__(self, quotas: Mapping[str, Quota], peers: Peers) -> None:
        self._peers, self._quotas = peers, quotas
        self._ledgers = {kind: Ledger(quota) for kind, quota in quotas.items()}
        self._shares: dict[tuple[str, int], Ledger] = {}
        self._leases: dict[str, OrderedDict[str, Lease]] = {kind: OrderedDict() for kind in quotas}

    async def take(self, kind: str, key: str) -> Verdict:
        """Counts one request of this key."""
        while (verdict := self.take_here(kind, key)) is None:
            owner, lease = self._peers.owner(kind, key), self._lease(kind, key)
            if owner is None:
                continue
            lease.waiting += 1
            try:
                await self._renewed(lease, owner, kind, key)
            except UpstreamError:
                return self._counted(self._charged(kind, key, lease), kind, key)
            finally:
                lease.waiting -= 1
        return verdict

    def take_here(self, kind: str, key: str) -> Verdict | None:
        """The same; None if the process that counts this key must be asked first."""
        if self._peers.owner(kind, key) is None:
            return self._counted(self._ledgers[kind], kind, key)
        now, lease = monotonic(), self._lease(kind, key)
        if now >= lease.until:
            lease.units = 0
        left, seconds = lease.left_elsewhere + lease.units, max(0.0, lease.frees_at - now)
        if lease.units:
            lease.units -= 1
            if now - lease.since >= self._quotas[kind].seconds:
                lease.used, lease.since = 0, now
            lease.used += 1
            return Verdict(kind, self._quotas[kind], True, left - 1, seconds)
        if now < lease.refused_until:
            return Verdict(kind, self._quotas[kind], False, 0, seconds)
        return None

    async def answer(self, request: Request) -> Response:
        """A lease for another process."""
        if request.scope.get("peer") != GATEWAY:
            raise Problem(403, "peer-not-allowed", "this certificate may not call here")
        try:
            asked = Asked.model_validate_json(await request.body())
        except ValidationError as error:
            raise invalid(error) from None
        ledger = self._ledgers.get(asked.kind)
        if ledger is None:
            raise Problem(404, "not-found", "there is no quota of this kind")
        now, window = monotonic(), ledger.window(asked.key)
        granted = window.take(asked.units, now)
        told = {"granted": granted, "left": window.left, "frees_in": window.frees_in(now)}
        return Response(orjson.dumps(told), media_type="application/json")

    def used(self) -> Iterator[dict[str, object]]:
        """What is counted here of each quota, for operators: how many keys are in use, and which most."""
        now = monotonic()
        for kind, ledger in self._ledgers.items():
            used = ledger.used(now)
            most = nlargest(MOST_TOLD, used.items(), key=itemgetter(1))
            told = [{"key": key, "used": units} for key, units in most]
            quota = ledger.quota
            yield {"kind": kind, "units": quota.units, "seconds": quota.seconds, "keys": len(used), "most": told}

    def _counted(self, ledger: Ledger, kind: str, key: str) -> Verdict:
        now, window = monotonic(), ledger.window(key)
        allowed = window.take(1, now) == 1
        return Verdict(kind, ledger.quota, allowed, window.left, window.frees_in(now))

    async def _renewed(self, lease: Lease, owner: Instance, kind: str, key: str) -> None:
        """One question to the owner serves all who wait. Raises `UpstreamError`."""
        if lease.renewal is None or lease.renewal.done():
            lease.renewal = asyncio.create_task(self._renew(lease, owner, kind, key))
        await asyncio.shield(lease.renewal)

    async def _renew(self, lease: Lease, owner: Instance, kind: str, key: str) -> None:
        quota, began = self._quotas[kind], monotonic()
        # Those who wait have it used up at once; only what goes beyond them can lie unused.
        units = max(quota.units // (PARTS * self._peers.count), lease.waiting)
        told = await self._peers.ask(owner, PATH, {"kind": kind, "key": key, "units": units})
        lease.units, lease.until = int(told["granted"]), began + quota.seconds
        lease.left_elsewhere, lease.frees_at = int(told["left"]), monotonic() + told["frees_in"]
        if not lease.units:
            lease.refused_until = lease.frees_at

    def _lease(self, kind: str, key: str) -> Lease:
        leases = self._leases[kind]
        lease = leases.get(key)
        if lease is None:
            lease = leases[key] = Lease()
            if len(leases) > MOST_KEYS:
                leases.popitem(last=False)
        else:
            leases.move_to_end(key)
        return lease

    def _charged(self, kind: str, key: str, lease: Lease) -> Ledger:
        """Our share of the quota, of which goes what the owner of the key gave us before it went away."""
        share, now = self._share(kind), monotonic()
        if lease.used and now - lease.since < share.quota.seconds:
            share.window(key).take(lease.used, now)
        lease.used = 0
        return share

    def _share(self, kind: str) -> Ledger:
        """The quota's part for this process, while the owner of a key cannot be reached."""
        count = self._peers.count
        if (kind, count) not in self._shares:
            quota = self._quotas[kind]
            self._shares[kind, count] = Ledger(Quota(max(1, quota.units // count), quota.seconds))
        return self._shares[kind, count]


@cache
def policy(kind: str, quota: Quota) -> tuple[bytes, bytes]:
    return b"ratelimit-policy", f'"{kind}";q={quota.units};w={quota.seconds}'.encode()


@cache
def announced(kind: str, quota: Quota) -> bytes:
    """Both headers, written out, without what is left and when it comes back."""
    return b'%b: %b\r\nratelimit: "%b";r=%%d;t=%%d\r\n' % (*policy(kind, quota), kind.encode())


def quotas(settings: Settings) -> dict[str, Quota]:
    """The quotas of all kinds: those that are set, and the defaults."""
    return {**DEFAULTS, **{kind: Quota(*given) for kind, given in settings.quotas.items()}}
