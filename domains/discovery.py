"""Finds the domains: the folders of `domains/`, and installed packages that announce themselves."""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

import domains
from domains.errors import NotADomain
from domains.kernel import Domain

ENTRY_POINT = "headrace.domains"


@cache
def discover() -> dict[str, Domain]:
    """Every domain by name. Raises `NotADomain` for one that declares none, or a name that stands twice."""
    folders = [module.name for module in iter_modules(domains.__path__) if module.ispkg]
    found: dict[str, Domain] = {}
    declared: list[tuple[str, Any]] = [
        (f"domains/{folder}", getattr(import_module(f"domains.{folder}"), "domain", None)) for folder in folders
    ]
    declared += [(f"entry point {point.name!r}", point.load()) for point in entry_points(group=ENTRY_POINT)]
    for place, domain in declared:
        if not isinstance(domain, Domain):
            raise NotADomain(f"{place} declares no value `domain` of type Domain")
        if domain.name in found:
            raise NotADomain(f"{place}: there is another domain of the name {domain.name!r}")
        found[domain.name] = domain
    return dict(sorted(found.items()))
