"""The native provider: real servers without Docker, in one project-local folder."""

from infra.native import usage
from infra.native.provider import Native, here

__all__ = ["Native", "here", "usage"]
