"""Structured logs: one JSON object a line on stderr, in ECS names, with the ids of the request."""

import logging
import logging.config
from typing import Any

import structlog
from ecs_logging import StructlogFormatter
from structlog.typing import EventDict

from infra.settings import Settings
from infra.telemetry import CONTEXT


def configure(settings: Settings) -> None:
    """Sends what `structlog` and `logging` are given to stderr, from `settings.log_level` upwards."""
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        Fields(settings.principal),
        structlog.processors.format_exc_info,
    ]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, StructlogFormatter()],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"ecs": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ecs"}},
            "root": {"handlers": ["stderr"], "level": settings.log_level.upper()},
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class Fields:
    """Adds who speaks, and about which request."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _: Any, __: str, entry: EventDict) -> EventDict:
        entry["service.name"] = self._service
        if "logger" in entry:
            entry["log.logger"] = entry.pop("logger")
        if (context := CONTEXT.get()) is not None:
            entry["http.request.id"] = context.request_id
            entry["trace.id"], entry["span.id"] = context.trace_id, context.span_id
        return entry
