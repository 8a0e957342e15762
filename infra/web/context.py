"""The request that is being answered."""

from infra.telemetry import RequestContext, current

__all__ = ["RequestContext", "current"]
