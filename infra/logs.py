"""Structured logs: one JSON object a line on stderr, in ECS names, with the ids of the request."""

import asyncio
import logging
import logging.config
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from ecs_logging import StructlogFormatter
from structlog.typing import EventDict

from infra.settings import Settings
from infra.telemetry import CONTEXT

FLUSH_SECONDS = 0.2
FLUSH_LINES = 256


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


class Lines:
    """Writes lines of a hot path to stderr, several at a time: each costs microseconds."""

    def __init__(self, service: str) -> None:
        self._common = {"ecs.version": "1.6.0", "service": {"name": service}}
        self._lines: list[Callable[[], str]] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, entry: Mapping[str, Any]) -> None:
        line = {"@timestamp": datetime.now(UTC), "log.level": "info", **entry, **self._common}
        self.add(partial(bytes.decode, orjson.dumps(line)))

    def add(self, line: Callable[[], str]) -> None:
        """A line that becomes JSON when it is written: many in a row take half the time."""
        self._lines.append(line)
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what waits. A reader of the log that has gone away does not stop the service."""
        lines, self._lines, timer, self._timer = self._lines, [], self._timer, None
        if timer is not None:
            timer.cancel()
        with suppress(OSError, ValueError):
            sys.stderr.write("".join([f"{line()}\n" for line in lines]))
            sys.stderr.flush()
