"""What people see, as HTML. Whatever comes from events, keys and errors is escaped, and cut to what can be read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from domains.kernel import Domain
from eventstore.records import RecordedEvent
from projections.console.watching import Seen
from projections.rows import AnyView
from projections.serving.tail import Change

WIDTH, HEIGHT = 120, 24
LONGEST_VALUE, LONGEST_DATA = 48, 6000
LARGEST_READ = 256 * 1024
COLUMNS = 7
CELLS = ("state", "position", "behind", "seconds", "rate", "eta", "parked", "drift", "error")
SEALED = "sealed:v1:"
MINUTE = 60
THIN = "\u202f"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", THIN)


def lasts(seconds: float | None) -> str:
    """How long something takes: `0 s`, `4.2 s`, `3 min`, `5 h`."""
    if seconds is None:
        return "–"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == round(seconds) else f"{seconds:.1f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 120 * MINUTE else f"{seconds / MINUTE / MINUTE:.0f} h"


def clip(text: object, most: int = LONGEST_VALUE) -> str:
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"


def points(values: Sequence[float]) -> str:
    """A line from left to right, the newest value at the right edge; the highest touches the top."""
    top = max(max(values, default=0), 1e-9)
    step = WIDTH / max(len(values) - 1, 1)
    return " ".join(
        f"{place * step:.1f},{HEIGHT - 1 - value / top * (HEIGHT - 3):.1f}" for place, value in enumerate(values)
    )


def value(found: Any) -> str:
    """A value of a row, short."""
    match found:
        case None:
            text = "–"
        case bool():
            text = "yes" if found else "no"
        case list() | dict():
            text = counted(len(found), "item" if isinstance(found, list) else "field")
        case str() if found.startswith(SEALED):
            text = "sealed"
        case _:
            text = clip(found)
    return text


def counted(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}"


def numeric(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def shown_data(event: RecordedEvent) -> str:
    """The data of an event, indented; sealed texts are named as such."""
    if len(event.data) > LARGEST_READ:
        return clip(event.data[:LONGEST_DATA].decode(errors="backslashreplace"), LONGEST_DATA)
    try:
        indented = orjson.dumps(unsealed(orjson.loads(event.data)), option=orjson.OPT_INDENT_2).decode()
    except (ValueError, TypeError, RecursionError):
        # What is nested too deeply to be written is a `TypeError` to orjson, though it has read it.
        indented = event.data.decode(errors="backslashreplace")
    return clip(indented, LONGEST_DATA)


def unsealed(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: unsealed(one) for name, one in found.items()}
    if isinstance(found, list):
        return [unsealed(one) for one in found]
    return "sealed" if isinstance(found, str) and found.startswith(SEALED) else found


def columns(view: AnyView) -> list[str]:
    """The fields of a row that are shown: its key first."""
    others = [name for name in view.row.model_fields if name != view.key]
    return [view.key, *others][:COLUMNS]


def cells_of(change: Change) -> dict[str, Any] | None:
    """What a change has made of its row; None: it is gone, or too large to be taken apart."""
    if change.value is None or len(change.value) > LARGEST_READ:
        return None
    try:
        found = orjson.loads(change.value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def stream_of(domain: Domain, row: Mapping[str, Any]) -> str | None:
    """The stream of the aggregate that a row names."""
    named = row.get(domain.identity)
    return domain.stream(named) if isinstance(named, str) else None


def event(name: str, html: str) -> bytes:
    """A server-sent event. Browsers pass over one without data, so that a text that is gone is an empty line of it."""
    lines = html.splitlines() or [""]
    return b"".join((f"event: {name}\n".encode(), *(b"data: %s\n" % one.encode() for one in lines), b"\n"))


class Pages:
    """Renders the templates of this package; `files` are what pages load."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self._templates = Environment(
            loader=PackageLoader("projections.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"number": number, "lasts": lasts, "clip": clip, "moment": moment, "value": value}
        self._templates.filters |= {"points": points, "data": shown_data}
        self._templates.tests |= {"numeric": numeric}
        self._templates.globals |= {"WIDTH": WIDTH, "HEIGHT": HEIGHT, "CELLS": CELLS}
        self._templates.globals |= {
            "columns": columns,
            "cells_of": cells_of,
            "stream_of": stream_of,
            "counted": counted,
        }

    def page(self, name: str, told: Mapping[str, object]) -> str:
        return self._templates.get_template(f"{name}.html").render(told)

    def part(self, name: str, *told: Any) -> str:
        """What one macro of `parts.html` makes."""
        made: Markup = getattr(self._templates.get_template("parts.html").module, name)(*told)
        return str(made)

    def figures(self, seen: Seen) -> Iterable[tuple[str, str]]:
        """The cells of a projection, each under the name of its event."""
        for cell in CELLS:
            yield f"{seen.name}/{cell}", self.part(cell, seen)
