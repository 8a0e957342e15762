"""What a question says, read strictly: anything that we do not know is refused by name."""

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from domains.kernel import Domain, Row
from infra import consistency
from infra.partitions import partition_of
from infra.web import Problem
from infra.web.context import current
from projections.paging import Place
from projections.rows import AnyView

LIMIT, LARGEST_LIMIT = 50, 500
LONGEST_KEY = 256
WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5, 20
ANSWER_SECONDS = 0.25
# RFC 3339; a plus sign that was not encoded arrives as a blank.
MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d{1,9})?(?:[Zz]|([+ -])(\d{2}:\d{2}))", re.ASCII)
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.ASCII)


def only(request: Request, known: Iterable[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(names) - set(known))
    if unknown:
        told = ", ".join(known) or "none"
        raise Problem(422, "invalid-parameter", f"unknown parameter {unknown[0][:64]!r}; known are: {told}")
    if len(names) > len(set(names)):
        raise Problem(422, "invalid-parameter", "a parameter stands twice")


def key(given: str) -> str:
    if not 1 <= len(given) <= LONGEST_KEY or not given.isprintable():
        raise Problem(422, "invalid-key", f"a key has 1 to {LONGEST_KEY} printable characters")
    return given


def size(request: Request) -> int:
    given = request.query_params.get("limit", str(LIMIT))
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= LARGEST_LIMIT):
        raise Problem(422, "invalid-parameter", f"limit is a whole number from 1 to {LARGEST_LIMIT}")
    return int(given)


def equal(request: Request, view: AnyView) -> Mapping[str, Any]:
    """The filters, as values of their columns."""
    found: dict[str, Any] = {}
    for name in view.filters:
        given = request.query_params.get(name)
        if given is None:
            continue
        try:
            found[name] = kind_of(view, name).validate_python(given)
        except ValidationError:
            raise Problem(422, "invalid-parameter", f"this is no value of {name}") from None
        if isinstance(found[name], str) and "\x00" in found[name]:
            raise Problem(422, "invalid-parameter", f"this is no value of {name}")
    return found


def as_of(request: Request) -> datetime | None:
    """The time that is asked about, or None: now."""
    given = request.query_params.get("as_of")
    if given is None:
        return None
    if (found := MOMENT.fullmatch(given)) is None:
        raise no_moment()
    day, time, fraction, sign, offset = found.groups()
    try:
        shift = f"{sign.replace(' ', '+')}{offset}" if sign else "+00:00"
        moment = datetime.fromisoformat(f"{day}T{time}{(fraction or '')[:7]}{shift}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise no_moment() from None
    if moment > datetime.now(UTC):
        raise Problem(422, "invalid-parameter", "as_of lies in the future: what will be is not known")
    return moment


def no_moment() -> Problem:
    return Problem(422, "invalid-parameter", "as_of is a time of RFC 3339, such as 2010-12-01T08:26:00Z")


def seen(request: Request, domain: Domain) -> dict[int, int]:
    """What the caller has seen of this domain: the position that each partition must have come to."""
    given = request.headers.getlist("consistency-token")
    wanted: dict[int, int] = {}
    if not given:
        return wanted
    try:
        tokens = consistency.decode_all(",".join(given))
    except ValueError:
        raise Problem(400, "invalid-consistency-token", "this is not a Consistency-Token of ours") from None
    for token in tokens:
        if token.domain == domain.name:
            partition = partition_of(token.stream.encode(), domain.partitions)
            wanted[partition] = max(wanted.get(partition, 0), token.position)
    return wanted


def patience(request: Request) -> tuple[float, dict[str, str]]:
    """For how long an answer may wait, and the header that says that the caller was heard: `Prefer: wait=3`."""
    found = WAIT.search(",".join(request.headers.getlist("prefer")).lower())
    seconds = min(int(found[1]), LONGEST_WAIT_SECONDS) if found else WAIT_SECONDS
    heard = {"preference-applied": f"wait={seconds}"} if found else {}
    if (deadline := current().deadline) is None:
        return seconds, heard
    # The caller's patience must last for the answer as well.
    return max(0.0, min(seconds, deadline - asyncio.get_running_loop().time() - ANSWER_SECONDS)), heard


def place(request: Request, view: AnyView) -> Place:
    """Where the page begins, and in which order its rows are: `sort=country`, or `sort=-country` from the end."""
    sort = request.query_params.get("sort", view.key)
    column = sort.removeprefix("-")
    if column not in view.sortable:
        raise Problem(422, "invalid-parameter", f"a list can be sorted by {', '.join(view.sortable)}, or -{view.key}")
    begin = Place(None if column == view.key else column, sort.startswith("-"))
    given = request.query_params.get("cursor")
    return begin if given is None else behind(view, begin, given)


def cursor(view: AnyView, begin: Place, row: Row) -> str:
    """An opaque mark behind a row, good for this view and order only."""
    kind = kind_of(view, begin.column)
    value = kind.dump_python(getattr(row, begin.column), mode="json") if begin.column else None
    here = [view.name, begin.column, begin.descending, value, getattr(row, view.key)]
    return base64.urlsafe_b64encode(orjson.dumps(here)).decode()


def behind(view: AnyView, begin: Place, given: str) -> Place:
    try:
        name, column, descending, value, last = orjson.loads(base64.b64decode(given, b"-_", validate=True))
        found = kind_of(view, begin.column).validate_python(value)
    except (binascii.Error, ValueError, TypeError):
        raise no_cursor() from None
    if (name, column, descending) != (view.name, begin.column, begin.descending):
        raise no_cursor()
    if not isinstance(last, str) or not last or "\x00" in f"{last}{found}":
        raise no_cursor()
    return replace(begin, value=found, key=last)


@cache
def kind_of(view: AnyView, column: str | None) -> TypeAdapter[Any]:
    """What reads and writes the values of a column; without one, nothing is the only value."""
    kind: Any = view.row.model_fields[column].annotation if column else None
    return TypeAdapter(kind)


def no_cursor() -> Problem:
    return Problem(400, "invalid-cursor", "this is not a cursor of this list, in this order")


def fields(request: Request, model: type[BaseModel]) -> set[str] | None:
    """The fields that an answer has; None: all."""
    given = request.query_params.get("fields")
    if given is None:
        return None
    names = given.split(",")
    if unknown := [name for name in names if name not in model.model_fields]:
        known = ", ".join(model.model_fields)
        raise Problem(422, "invalid-parameter", f"{unknown[0][:64]!r} is none of the fields: {known}")
    if len(set(names)) < len(names):
        raise Problem(422, "invalid-parameter", "a field stands twice")
    return set(names)
