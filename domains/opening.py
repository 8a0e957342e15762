"""Opens sealed texts for an answer, or says that their subject was forgotten."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from pydantic import BaseModel

from domains.kernel import Domain
from domains.personal import personal_fields
from domains.plan import keys_database
from eventstore.errors import KeyMissing, SealBroken
from eventstore.personal import keyring
from eventstore.personal.keys import Keys, RememberedKeys
from eventstore.personal.postgres import PostgresKeys
from eventstore.personal.sealing import PREFIX, Sealed
from eventstore.records import RecordedEvent
from infra.postgres import conninfo
from infra.settings import Settings

FORGOTTEN = "forgotten"
Values = dict[str, Any]


@asynccontextmanager
async def keys_of(domain: Domain, settings: Settings) -> AsyncIterator[Keys | None]:
    """The keys of a domain, as the principal of the settings gets at them; None: it says nothing about persons."""
    if not domain.is_personal:
        yield None
        return
    ring = keyring.file(settings.keys, domain.name)
    async with PostgresKeys.open(conninfo(settings, keys_database(domain)), ring) as keys:
        yield RememberedKeys(keys)


async def bodies(models: Sequence[BaseModel], keys: Keys | None, fields: set[str] | None = None) -> list[bytes]:
    """The JSON of rows or states, or of these fields of them, for whoever may read them.

    Raises `KeyMissing`, `SealBroken`, `StoreUnavailable`.
    """
    if not models or not personal_fields(type(models[0])):
        return [model.__pydantic_serializer__.to_json(model, include=fields) for model in models]  # its shortest way
    return [orjson.dumps(values) for values in await plain(models, keys, fields)]


async def plain(models: Sequence[BaseModel], keys: Keys | None, fields: set[str] | None = None) -> list[Values]:
    """The same as JSON values."""
    values = [model.model_dump(mode="json", include=fields) for model in models]
    personal = personal_fields(type(models[0])) if models else ()
    names = [name for name in personal if fields is None or name in fields]
    if names:
        await open_all(values, names, keys)
    return values


async def recorded_data(domain: Domain, event: RecordedEvent, keys: Keys | None) -> bytes:
    """The data of an event, as it was recorded but opened. Raises what `bodies` does."""
    type_name = event.type
    while (upcaster := domain.upcaster(type_name)) is not None:
        type_name = upcaster.to
    model = domain.events.get(type_name)
    fields = personal_fields(model) if model is not None else ()
    if not fields or b'"sealed:v1:' not in event.data:
        return event.data
    values: Values = orjson.loads(event.data)
    # What became personal with a later version of the type was not sealed in the earlier one.
    names = [name for name in fields if str(values.get(name)).startswith(PREFIX)]
    for name in names:
        if place(values[name]) != (event.stream, event.version, name):
            raise SealBroken(f"the {name} of event {event.version} of {event.stream!r} was sealed for another place")
    await open_all([values], names, keys)
    return orjson.dumps(values)


def place(text: str) -> tuple[str, int, str]:
    found = Sealed.parsed(text)
    return found.stream, found.version, found.field


async def open_all(held: Sequence[Values], names: Iterable[str], keys: Keys | None) -> None:
    """Puts clear texts, or `FORGOTTEN`, in the place of sealed ones."""
    places = [(values, name, Sealed.parsed(values[name])) for values in held for name in names if values.get(name)]
    if not places:
        return
    if keys is None:
        raise KeyMissing("there are no keys to open sealed texts with")
    found: Mapping[Any, Any] = await keys.find({sealed.key for _, _, sealed in places})
    for values, name, sealed in places:
        key = found[sealed.key]
        values[name] = FORGOTTEN if key is None else key.open(sealed)
