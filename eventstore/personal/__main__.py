"""python -m eventstore.personal migrate <database> <writer-role> [reader roles…]

Makes the tables of a store's data keys, and the keyring that wraps them when there is none.
Exit codes: 0 done; 1 a key is missing, or the database refused; 2 usage or settings; 69 the database is down.
"""

import argparse
import sys
from collections.abc import Sequence

import psycopg

from eventstore.errors import EventStoreError, StoreUnavailable
from eventstore.link import sentence
from eventstore.migrate import Roles, connect
from eventstore.personal import keyring
from eventstore.personal.migrate import migrate
from infra.errors import InfraError
from infra.postgres import conninfo
from infra.settings import load

PATIENCE_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        settings = load()
        ring = keyring.file(settings.keys, store_of(given.database))
        with connect(conninfo(settings, given.database), PATIENCE_SECONDS) as connection:
            migrate(connection, Roles(given.writer, given.readers), ring)
    except InfraError as error:
        return say(2, f"{error} ({error.hint})" if error.hint else str(error))
    except StoreUnavailable as error:
        return say(69, f"database {given.database!r} can't be reached: {error}")
    except EventStoreError as error:
        return say(1, str(error))
    except psycopg.Error as error:
        return say(1, f"database {given.database!r}: {sentence(error)}")
    return 0


def store_of(database: str) -> str:
    return database.removesuffix("_keys").replace("_", "-")


def say(code: int, sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201
    return code


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m eventstore.personal")
    step = whole.add_subparsers(required=True, metavar="migrate").add_parser("migrate")
    step.add_argument("database")
    step.add_argument("writer", help="the role that seals")
    step.add_argument("readers", nargs="*", help="roles that open")
    return whole


if __name__ == "__main__":
    sys.exit(main())
