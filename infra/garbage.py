"""How often a process looks for objects that only hold each other."""

import gc


def collect_rarely(objects: int = 20_000) -> None:
    """For a process that has begun: what was loaded until now stays, and is never walked over again.

    `objects` that hold others may come, beyond those that went, before the collector looks: requests and records
    make hardly any circles, and to look after each 700 objects costs as much as the work itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(max(objects, gc.get_threshold()[0]), 20, 20)
