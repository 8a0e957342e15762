"""Texts about persons, as a domain declares and carries them. Pure: what seals and opens is handed in.

A command marks a field with the field that names the subject; without a value there, the aggregate is the subject:

    recipient: Annotated[Personal, Of("customer")] | None = None

Events, states and rows have the field as `Personal`. The text is clear in a command and in the event that a decider
makes of it; recorded, it is sealed, and so it stays: in states, rows, snapshots, topics and logs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, get_args

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

SEALED = r"^sealed:v1:[0-9a-f]{32}:"
CLEAR = r"^[^\x00-\x08\x0b-\x1f\x7f]+$"
LONGEST = 1000


class Key(Protocol):
    """The key of a subject."""

    def seal(self, text: str, stream: str, version: int, field: str) -> str: ...

    def matches(self, sealed: str, text: str) -> bool: ...


class Personal:
    """A text about a person. While it is clear it is never shown, and can't be written."""

    __slots__ = ("_clear", "_key", "_sealed")

    def __init__(self, *, clear: str | None = None, sealed: str | None = None, key: Key | None = None) -> None:
        self._clear, self._sealed, self._key = clear, sealed, key

    @classmethod
    def clear(cls, text: str) -> "Personal":
        return cls(clear=text)

    @classmethod
    def sealed(cls, text: str) -> "Personal":
        return cls(sealed=text)

    @property
    def is_clear(self) -> bool:
        return self._clear is not None

    @property
    def text(self) -> str:
        """The sealed text. Raises `ValueError` while it is clear."""
        if self._sealed is None:
            raise ValueError("a text about a person is not written while it is clear")
        return self._sealed

    def keyed(self, key: Key) -> "Personal":
        """The same clear text, with the key under which it will be sealed."""
        return Personal(clear=self._clear, sealed=self._sealed, key=key)

    def sealed_for(self, stream: str, version: int, field: str) -> "Personal":
        """What is recorded. Raises `ValueError` for what is sealed already: it can't be moved to another event."""
        if self._clear is None or self._key is None:
            raise ValueError(f"the field {field} holds a text that is sealed, or has no key: it can't be recorded")
        return Personal.sealed(self._key.seal(self._clear, stream, version, field))

    def __eq__(self, other: object) -> bool:
        """A clear text is equal to the sealed one that holds it."""
        if not isinstance(other, Personal):
            return NotImplemented
        if self._clear is None and other._clear is not None:
            return other == self
        if self._clear is not None and other._sealed is not None:
            return self._key is not None and self._key.matches(other._sealed, self._clear)
        return (self._clear, self._sealed) == (other._clear, other._sealed)

    __hash__ = None  # type: ignore[assignment]  # equal texts may be sealed differently

    def __repr__(self) -> str:
        return "***" if self._sealed is None else self._sealed

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        return text_schema(cls.sealed, core_schema.str_schema(strict=True, pattern=SEALED))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Recorded it is sealed; in an answer it is any text."""
        return {"type": "string"} if handler.mode == "serialization" else handler(schema["schema"])


@dataclass(frozen=True, slots=True)
class Of:
    """Marks a field of a command as a clear text about the subject whom another field names."""

    subject: str

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        bounds = core_schema.str_schema(strict=True, pattern=CLEAR, min_length=1, max_length=LONGEST)
        return text_schema(Personal.clear, bounds)


def text_schema(made: Callable[[str], Personal], text: CoreSchema) -> CoreSchema:
    def validated(value: Any, read: Callable[[Any], Personal]) -> Personal:
        return value if isinstance(value, Personal) else read(value)

    return core_schema.no_info_wrap_validator_function(
        validated,
        core_schema.no_info_after_validator_function(made, text),
        serialization=core_schema.plain_serializer_function_ser_schema(written, info_arg=True),
    )


def written(given: Personal, info: core_schema.SerializationInfo) -> Personal | str:
    return given if info.mode == "python" else given.text


@cache
def personal_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that hold a text about a person."""
    return tuple(name for name, field in model.model_fields.items() if Personal in parts(field.annotation))


@cache
def subjects(command: type[BaseModel]) -> Mapping[str, str]:
    """For each marked field of a command, the field that names its subject."""
    return {
        name: mark.subject
        for name, field in command.model_fields.items()
        for mark in (*parts(field.annotation), *field.metadata)
        if isinstance(mark, Of)
    }


def parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from parts(part)
