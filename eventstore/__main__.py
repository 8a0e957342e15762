"""python -m eventstore migrate [--check] [--wait SECONDS] <database> <writer-role> [reader roles…] [--follower ROLE]…

Exit codes: 0 done; 1 something is missing, or the schema is not ours; 2 usage or settings; 69 the database is down.
"""

import argparse
import sys
from collections.abc import Sequence

import psycopg

from eventstore.errors import SchemaMismatch, StoreUnavailable
from eventstore.link import sentence
from eventstore.migrate import Roles, connect, migrate, missing
from infra.errors import InfraError
from infra.postgres import conninfo
from infra.settings import load


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        return run(given)
    except InfraError as error:
        return say(2, f"{error}" + (f" ({error.hint})" if error.hint else ""))
    except StoreUnavailable as error:
        return say(69, f"database {given.database!r} can't be reached: {error}")
    except SchemaMismatch as error:
        return say(1, str(error))
    except psycopg.Error as error:
        return say(1, f"database {given.database!r}: {sentence(error)}")


def run(given: argparse.Namespace) -> int:
    roles = Roles(given.writer, given.readers, given.follower)
    with connect(conninfo(load(), given.database), given.wait) as connection:
        if given.check:
            faults = missing(connection, roles)
            return say(1, *faults) if faults else say(0, f"{given.database}: nothing is missing")
        applied = migrate(connection, roles)
    return say(0, *(f"{given.database}: applied {name}" for name in applied or ["nothing: all was there"]))


def say(code: int, *sentences: str) -> int:
    print(*sentences, sep="\n", file=sys.stderr)  # noqa: T201
    return code


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="python -m eventstore")
    steps = whole.add_subparsers(required=True, metavar="migrate")
    step = steps.add_parser("migrate", help="bring a store's schema and rights to what this code needs")
    step.add_argument("--check", action="store_true", help="change nothing, say what is missing")
    step.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="how long the database may take")
    step.add_argument("database")
    step.add_argument("writer", help="the role that appends")
    step.add_argument("readers", nargs="*", help="roles that may read")
    step.add_argument("--follower", action="append", default=[], metavar="ROLE", help="may read events only")
    return whole


if __name__ == "__main__":
    sys.exit(main())
