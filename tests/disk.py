"""A disk that is full: the system's own limit for the size of a file, which PostgreSQL itself treats like one.

It needs no file system to be mounted, and no rights.
"""

import resource
from contextlib import contextmanager

from infra.native import Native
from infra.plan import Plan

ROOM = 17 * 1024 * 1024  # more than a file of the write-ahead log, which is made beforehand


@contextmanager
def files_of_at_most(size):
    """For the processes that are started inside."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@contextmanager
def full_disk(floor):
    """A PostgreSQL of its own, whose files can't grow beyond `ROOM`."""
    system = Native(floor.folder.with_name(f"{floor.folder.name}-disk"), Plan(), floor.cache)
    try:
        with files_of_at_most(ROOM):
            system.up(only={"postgres"})
        yield system
    finally:
        system.down()
