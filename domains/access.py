"""Whose rows and streams somebody may see and change."""

from domains.errors import NotYours
from domains.kernel import Command, Domain
from infra.oidc import Identity

NOBODY = ""


def bound_to(domain: Domain, identity: Identity) -> str | None:
    """The owner that an identity is bound to; `NOBODY` if its token names none, None if it is not bound.

    Not bound are tokens with the domain's `all` scope, and machines that act in their own name.
    """
    if domain.owner is None or domain.all_scope in identity.scopes:
        return None
    owner = identity.claims.get(domain.owner)
    if owner is None and identity.machine:
        return None
    return owner if isinstance(owner, str) else NOBODY


def check_owner(domain: Domain, owner: str | None, state: object, command: Command | None = None) -> None:
    """Raises `NotYours` unless an aggregate, and what a command says of it, is the owner's."""
    if owner is None or domain.owner is None:
        return
    named = {getattr(state, domain.owner), getattr(command, domain.owner, None)} - {None, NOBODY}
    if named != {owner}:
        raise NotYours("who is bound to his own can't see or change what is not his")
