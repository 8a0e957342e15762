"""Handles a command: loads the stream, unless it begins one, folds, decides, appends."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from msgspec import structs
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from domains.access import check_owner
from domains.aggregates import PAGE, Aggregates, Folded, Policy
from domains.causation import causation_id
from domains.codec import decode, encode
from domains.errors import InvalidCommand, NotYours, Raced, Refused, UnknownCommand
from domains.kernel import Command, Domain
from domains.personal import subjects
from domains.turns import Turns
from eventstore.errors import KeyMissing, StoreBusy, WrongExpectedVersion
from eventstore.personal.keys import Keys
from eventstore.personal.sealing import DataKey, Sealed
from eventstore.records import Any as AnyVersion
from eventstore.records import Append, Appended, Exactly, Expected, IdempotencyKey, Metadata, NoStream
from eventstore.store import EventStore

ATTEMPTS = 20  # of one whose turn it is, against other processes
RACED_SECONDS = 1.0
SURE = 8  # one that is wrong costs the batch that it is in twice
ANY_VERSION = AnyVersion()
NOBODY = Metadata()
FORGOTTEN = "forgotten", "whom it is about was forgotten before it was done"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The stream must be there, and at one of these versions; without any: at whichever."""

    versions: frozenset[int] = frozenset()


Demand = Expected | OneOf
THERE = OneOf()


@dataclass(frozen=True, slots=True)
class Request:
    """One command as it came in: `body` is JSON in the form of `form`, a version of the domain's addresses;
    `expected` is what the caller demands of the stream's version.

    `metadata.causation_id` is the id of the message that brought it; None: that of the request.
    `owner` is whose the aggregate must be; None: anybody's. `keys` are those under which it lay sealed; none if it came
    clear.
    """

    id: str
    command: str
    body: bytes
    expected: Demand = ANY_VERSION
    idempotency_key: str | None = None
    metadata: Metadata = NOBODY
    owner: str | None = None
    form: int = 1
    keys: tuple[UUID, ...] = ()


class Handler:
    """The write side of one domain, without its doors."""

    def __init__(
        self, domain: Domain, store: EventStore, policy: Policy | None = None, keys: Keys | None = None
    ) -> None:
        self._domain, self._store, self._keys = domain, store, keys
        self._aggregates, self._turns = Aggregates(domain, store, policy), Turns()
        self._begun = Counter[str]()  # of each command: how many in a row began their streams

    async def handle(self, request: Request) -> Appended:
        """The stream's new place.

        Raises `UnknownCommand`, `InvalidCommand`, `NotYours`, `Refused` and the store's errors.

        A command that changes nothing is answered with where the stream stands. What the business refused under a key
        stays refused under it, whatever has happened since. When nobody demanded a version
        and another writer was faster, it is decided again upon the new state, in its turn; who loses even then, against
        other processes, is told to come again (`StoreBusy`), and never that a version was wrong.
        """
        command, used = await self.keyed(parse(self._domain, request))
        if request.keys and request.keys != tuple(one.id for one in used):
            # Who was forgotten has a new key by now: under that, what was said before would outlive the old one.
            raise Refused(*FORGOTTEN)
        key = idempotency(request, used)
        stream = self._domain.stream(request.id)
        try:
            appended = await self._begin(request, command, key) or await self._in_turn(request, command, key)
        except Refused as error:
            if key is None:
                raise
            appended = await self._store.refuse(key, stream, told(error, stream, request.command, used))
        if appended.refusal is not None:
            raise refused(appended.refusal, used)
        return appended

    async def _in_turn(self, request: Request, command: Command, key: IdempotencyKey | None) -> Appended:
        stream = self._domain.stream(request.id)
        if stream not in self._turns:
            with suppress(Raced):
                return await self._once(request, command, key)
        async with self._turns.of(stream):
            for _ in range(ATTEMPTS):
                with suppress(Raced):
                    return await self._once(request, command, key)
        raise StoreBusy(RACED_SECONDS)

    async def _once(self, request: Request, command: Command, key: IdempotencyKey | None) -> Appended:
        """Raises `Raced` when only another writer was faster."""
        try:
            return await self._attempt(request, command, key)
        except (Refused, WrongExpectedVersion) as error:
            # A repeat finds the stream moved on by its own first effect, so it is looked up before it is refused.
            if (answered := await self._answered(key)) is not None:
                return answered
            if isinstance(error, WrongExpectedVersion) and request.expected in (ANY_VERSION, THERE) and raced(error):
                raise Raced(str(error)) from None
            raise

    async def check_owner(self, stream: str, owner: str | None) -> None:
        """Raises `NotYours` unless the stream is the owner's, or anybody may see it."""
        if owner is not None:
            check_owner(self._domain, owner, (await self._aggregates.load(stream)).state)

    async def keyed(self, command: Command) -> tuple[Command, list[DataKey]]:
        """The command with the keys of those about whom it says something, and these keys. Raises `KeyMissing`."""
        keyed: dict[str, Any] = {}
        used: dict[str, DataKey] = {}
        for field, named_by in subjects(type(command)).items():
            if (value := getattr(command, field)) is None:
                continue
            if self._keys is None:
                raise KeyMissing(f"{self._domain.name} has no keys to seal {field} with")
            subject = str(getattr(command, named_by) or getattr(command, self._domain.identity))
            if subject not in used:
                used[subject] = await self._keys.current(subject)
            keyed[field] = value.keyed(used[subject])
        return (command.model_copy(update=keyed) if keyed else command), list(used.values())

    async def key(self, id: UUID) -> DataKey | None:
        """A key by its id; None: its subject was forgotten. Raises `KeyMissing`."""
        if self._keys is None:
            raise KeyMissing(f"{self._domain.name} has no keys")
        return (await self._keys.find([id]))[id]

    async def _answered(self, key: IdempotencyKey | None) -> Appended | None:
        return await self._store.answered(key) if key is not None else None

    async def _begin(self, request: Request, command: Command, key: IdempotencyKey | None) -> Appended | None:
        """Handles a command as if there were no stream yet, when the last ones of its kind began theirs: saves a look.

        Only what the store has confirmed is an answer. None: it must be looked, also before anything is refused.
        """
        if self._begun[request.command] < SURE or isinstance(request.expected, Exactly | OneOf):
            return None
        try:
            begun = await self._append(request, command, key, self._aggregates.nothing)
        except (NotYours, Refused, WrongExpectedVersion):
            begun = None
        self._note(request, began=begun is not None and not begun.repeated)
        return begun

    async def _attempt(self, request: Request, command: Command, key: IdempotencyKey | None) -> Appended:
        folded = await self._aggregates.load(self._domain.stream(request.id))
        appended = await self._append(request, command, key, folded)
        self._note(request, began=appended is not None and folded.version == 0)
        if appended is None:
            return Appended(self._domain.stream(request.id), folded.version, folded.position, repeated=True)
        return appended

    def _note(self, request: Request, *, began: bool) -> None:
        self._begun[request.command] = self._begun[request.command] + 1 if began else 0

    async def _append(
        self, request: Request, command: Command, key: IdempotencyKey | None, folded: Folded
    ) -> Appended | None:
        """Decides upon a state, and records what follows, with its key; None: nothing follows, and there is no key."""
        stream = self._domain.stream(request.id)
        check_owner(self._domain, request.owner, folded.state, command)
        demand(stream, request.expected, folded.version)
        events = self._domain.decider.decide(folded.state, command)
        if not events and key is None:
            return None
        metadata = caused(request)
        recorded = [
            encode(self._domain, event, stream, version, metadata)
            for version, event in enumerate(events, folded.version + 1)
        ]
        expected: Expected = Exactly(folded.version) if folded.version else NoStream()
        return await self._store.append(Append(stream, recorded, expected, key))


def caused(request: Request) -> Metadata:
    """What is recorded with each event of a command: also which one it was."""
    given = request.metadata
    return structs.replace(given, causation_id=causation_id(request.command, given.causation_id or given.request_id))


async def fold(
    domain: Domain, store: EventStore, stream: str, until: Callable[[Any], bool] = lambda _: False
) -> Folded:
    """Folds a stream from its beginning; stops before the first recorded event for which `until` holds."""
    folded = Folded(domain.decider.initial)
    while page := await store.read_stream(stream, after=folded.version, limit=PAGE):
        for recorded in page:
            if until(recorded):
                return folded
            state = domain.decider.evolve(folded.state, decode(domain, recorded))
            folded = Folded(state, recorded.version, recorded.position)
        if len(page) < PAGE:
            break
    return folded


def told(error: Refused, stream: str, command: str, keys: Sequence[DataKey]) -> bytes:
    """A refusal as it is kept: under the keys of those about whom the command says something, as it may repeat that."""
    text = to_json({"code": error.code, "detail": error.detail}).decode()
    for key in keys:
        text = key.seal(text, stream, 0, command)
    return text.encode()


def refused(refusal: bytes, keys: Sequence[DataKey]) -> Refused:
    """The same refusal, opened with the same keys: with others it is another command."""
    text = refusal.decode()
    for key in reversed(keys):
        text = key.open(Sealed.parsed(text))
    return Refused(**from_json(text))


def raced(error: WrongExpectedVersion) -> bool:
    """Whether the store refused what was read a moment before, and not the caller's demand that there be a stream."""
    return not isinstance(error.expected, OneOf)


def demand(stream: str, expected: Demand, actual: int) -> None:
    """What the caller demands is checked before the business is asked. Raises `WrongExpectedVersion`."""
    match expected:
        case Exactly(version) if version != actual:
            raise WrongExpectedVersion(stream, expected, actual)
        case NoStream() if actual:
            raise WrongExpectedVersion(stream, expected, actual)
        case OneOf(versions) if not actual or (versions and actual not in versions):
            raise WrongExpectedVersion(stream, expected, actual)


def parse(domain: Domain, request: Request) -> Command:
    """The command of a request. The path names the aggregate, so the body must not."""
    version = domain.version(request.form)
    if version is None or request.command not in domain.commands:
        raise UnknownCommand(domain.name, request.command)
    fields = parse_object(request.body)
    if domain.identity in fields:
        raise InvalidCommand([fault(domain.identity, "extra_forbidden", "is given by the path")])
    try:
        return version.command(domain, request.command, {**fields, domain.identity: request.id})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidCommand([fault(place(each["loc"]), each["type"], each["msg"]) for each in faults[:20]]) from None


def parse_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidCommand([fault("", "json_invalid", f"the body is not JSON: {error}"[:200])]) from None
    if not isinstance(value, dict):
        raise InvalidCommand([fault("", "not_an_object", "the body is not a JSON object")])
    return value


def fault(field: str, code: str, detail: str) -> dict[str, str]:
    return {"field": field, "code": code, "detail": detail}


def place(path: tuple[int | str, ...]) -> str:
    """Where in the body, bounded: a hostile body can have a very long field name."""
    return ".".join(str(part)[:64] for part in path)


def idempotency(request: Request, keys: Sequence[DataKey] = ()) -> IdempotencyKey | None:
    """What is said about persons can't be guessed from the fingerprint: it is taken with their keys."""
    if request.idempotency_key is None:
        return None
    # What stands around a JSON document says nothing, and is gone from a command that is answered later.
    asked = "\n".join((request.id, request.command)).encode() + b"\n" + request.body.strip()
    fingerprint = hashlib.sha256(asked).digest()
    for key in keys:
        fingerprint = key.fingerprint(fingerprint)
    return IdempotencyKey(request.idempotency_key, fingerprint)


__all__ = ["Folded", "Handler", "Refused", "Request", "fold"]
