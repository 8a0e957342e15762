"""In which versions of addresses compositions are served: derived from the versions of the domains that answer them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from domains.kernel import Composition, Domain, Part, Version


@dataclass(frozen=True, slots=True)
class Served:
    """A composition in one version.

    `forms` are the versions in which its parts are asked for; None: their domain has none that is so old. `scopes` are
    what the parts need, `scope` is the declaring domain's. `newest` is the number of the newest version that there is.
    """

    domain: str
    composition: Composition
    version: Version
    newest: int
    forms: Sequence[int | None]
    scopes: Sequence[str]

    @property
    def scope(self) -> str:
        return f"{self.domain}:read"

    @property
    def template(self) -> str:
        return f"/v{self.version.number}/{self.composition.things}/{{key}}/{self.composition.name}"


def served(domains: Mapping[str, Domain]) -> Iterator[Served]:
    """Every composition, in each version that a domain of it has."""
    for domain in domains.values():
        for one in domain.compositions:
            involved = [domains[name] for name in {domain.name, *(part.domain for part in one.parts)} & domains.keys()]
            numbers = sorted({version.number for each in involved for version in each.versions})
            scopes = [part_scope(domains, part) for part in one.parts]
            for number in numbers:
                forms = [form(domains.get(part.domain), number) for part in one.parts]
                yield Served(domain.name, one, composed_version(domains, one, number), numbers[-1], forms, scopes)


def form(domain: Domain | None, number: int) -> int | None:
    """The version in which a domain answers for a version that others have too: its own of then."""
    known = [version.number for version in domain.versions] if domain else []
    return max((each for each in known if each <= number), default=None)


def composed_version(domains: Mapping[str, Domain], one: Composition, number: int) -> Version:
    """It goes when the first of its parts goes, and since the first of them was deprecated."""
    parts = [domains[name].version(number) for name in {part.domain for part in one.parts} & domains.keys()]
    since = [version.deprecated for version in parts if version and version.deprecated]
    until = [version.sunset for version in parts if version and version.sunset]
    return Version(number, deprecated=min(since, default=None), sunset=min(until, default=None))


def part_scope(domains: Mapping[str, Domain], part: Part) -> str:
    domain = domains.get(part.domain)
    return domain.view_scope(part.view) if domain else f"{part.domain}:read"
