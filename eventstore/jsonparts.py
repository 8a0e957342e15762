"""Takes a JSON object apart without touching one of its members: what it holds stays as it was written."""

from json.decoder import JSONDecoder
from re import compile as pattern
from typing import Any

import orjson

SPACE = pattern(r"[ \t\n\r]*")
SCAN = JSONDecoder(parse_int=str, parse_float=str).raw_decode


def members(value: bytes, whole: str) -> tuple[dict[str, Any], bytes | None]:
    """The members of an object but `whole`, and the bytes of `whole`. Raises `ValueError` for anything else."""
    return quickly(value, whole) or slowly(value, whole)


def quickly(value: bytes, whole: str) -> tuple[dict[str, Any], bytes] | None:
    """For an object whose last member is `whole`, as we write them. None: look more closely.

    Inside a string a quote is escaped, so `,"data":` can only be a member's beginning; and what stands before it is an
    object once closed only if that member is one of the outermost.
    """
    before, found, after = value.rstrip().partition(f',"{whole}":'.encode())
    if not found or not after.endswith(b"}"):
        return None
    raw = after[:-1].strip()
    try:
        others, _ = orjson.loads(before + b"}"), orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return (others, raw) if isinstance(others, dict) else None


def slowly(value: bytes, whole: str) -> tuple[dict[str, Any], bytes | None]:
    """For any object, whatever the order of its members."""
    others = orjson.loads(value)
    if not isinstance(others, dict):
        raise ValueError("it is no object")
    if whole not in others:
        return others, None
    del others[whole]
    return others, last_of(value.decode(), whole).encode()


def last_of(text: str, whole: str) -> str:
    """The text of a member that the object is known to have; the last one, should there be several."""
    found = ""
    at = skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = SCAN(text, at)
        start = skip(text, skip(text, at) + 1)
        _, at = scan_value(text, start)
        if name == whole:
            found = text[start:at]
        at = skip(text, at)
        if text[at] == ",":
            at = skip(text, at + 1)
    return found


def scan_value(text: str, start: int) -> tuple[Any, int]:
    try:
        return SCAN(text, start)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def skip(text: str, at: int) -> int:
    """Where the next character stands that is no space."""
    found = SPACE.match(text, at)
    return found.end() if found else at
