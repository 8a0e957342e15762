"""The documents of what can be asked and what stands on Kafka: of the whole, of each version, of each domain."""

from collections.abc import Mapping

import orjson

from domains.kernel import Domain
from gateway import asyncapi, openapi

WHOLE = "openapi"


def described(domains: Mapping[str, Domain]) -> dict[str, bytes]:
    """Each document by its name, as JSON: `openapi`, `openapi-v1`, `openapi-orders`, `asyncapi`, `asyncapi-orders`."""
    found = {WHOLE: openapi.document(domains)}
    found |= {f"{WHOLE}-v{number}": openapi.document(domains, number) for number in numbers(domains)}
    found |= {f"{WHOLE}-{name}": openapi.document({name: domain}) for name, domain in domains.items()}
    found |= {"asyncapi": asyncapi.document(domains)}
    found |= {f"asyncapi-{name}": asyncapi.document({name: domain}) for name, domain in domains.items()}
    return {name: orjson.dumps(document) for name, document in found.items()}


def numbers(domains: Mapping[str, Domain]) -> list[int]:
    """The versions of addresses that there are."""
    return sorted({version.number for domain in domains.values() for version in domain.versions})
