"""Reads Kafka through aiokafka, also where a header's name is no UTF-8: aiokafka would end there, again and again."""

from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from infra.kafka import aiokafka
from infra.settings import Settings


class Escaped(bytearray):
    """Bytes that are text in any case: what is no UTF-8 of them is escaped."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return Escaped(found) if isinstance(place, slice) else found

    def decode(self, *_: object) -> str:
        return bytes(self).decode(errors="backslashreplace")


class Lenient(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types that we follow
    """aiokafka's own batch without its C, which has only the names of headers as text."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = Escaped(self._buffer)


class Batch:
    """The records of a batch; where one can't be read, once more from the beginning: aiokafka passes over repeats."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch, self._raw = batch, raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            yield from Lenient(self._raw)


class Fetched(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of a fetch."""

    def next_batch(self, *given: Any) -> Batch | None:
        raw = self._next_slice
        batch = super().next_batch(*given)
        return None if batch is None else Batch(batch, raw)


def consumer(settings: Settings, **more: Any) -> Any:
    """An aiokafka consumer that has not begun."""
    install()
    return AIOKafkaConsumer(**aiokafka(settings, **more))


def install() -> None:
    """Has aiokafka read so, in this process."""
    fetcher.MemoryRecords = Fetched
