"""Where a request comes from. What proxies say is believed only of those that are configured."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
FORWARDED = b"x-forwarded-for"
NOBODY = "unknown"


def address_of(scope: Scope, proxies: Sequence[Network]) -> str:
    """The client's address; of IPv6 the network of 64 bits, since one client has all of it."""
    client = scope.get("client")
    found = client_of(client[0], forwarded(scope) if proxies else "", proxies) if client else None
    if found is None:
        return NOBODY
    return str(found) if found.version == 4 else str(IPv6Network((found, 64), strict=False))


def forwarded(scope: Scope) -> str:
    """What proxies say, in the order in which they were met."""
    return b",".join(value for name, value in scope["headers"] if name == FORWARDED).decode("latin-1")


def client_of(host: str, told: str, proxies: Sequence[Network]) -> Address | None:
    """The address of whom these hosts speak for."""
    found = parsed(host)
    return farthest(found, told, proxies) if found is not None and proxies and trusted(found, proxies) else found


def farthest(nearest: Address, told: str, proxies: Sequence[Network]) -> Address:
    """The last address in the chain that a proxy of ours vouches for: what stands left of it anybody can write."""
    for one in reversed(told.split(",")):
        if not trusted(nearest, proxies) or (further := parsed(one.strip())) is None:
            break
        nearest = further
    return nearest


def trusted(one: Address, proxies: Sequence[Network]) -> bool:
    return any(one in network for network in proxies)


def parsed(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
