"""How much somebody may ask for: never more than `units` in any span of `seconds`, exact to a 400th of the span."""

from array import array
from collections import OrderedDict
from typing import NamedTuple

CELLS = 400
MOST_KEYS = 20_000


class Quota(NamedTuple):
    units: int
    seconds: int


class Window:
    """What one key has used in the last `seconds`: a ring of counters. Times are of any clock that never goes back."""

    __slots__ = ("_cells", "_last", "_oldest", "_quota", "_used", "_width")

    def __init__(self, quota: Quota) -> None:
        self._quota, self._width = quota, quota.seconds / CELLS
        self._cells = array("I", bytes(4 * (CELLS + 1)))
        self._last = self._oldest = self._used = 0

    def take(self, units: int, now: float) -> int:
        """Takes as many units as there are, up to so many; how many it were."""
        self._advance(now)
        granted = min(units, self._quota.units - self._used)
        if granted > 0:
            if not self._used:
                self._oldest = self._last
            self._cells[self._last % len(self._cells)] += granted
            self._used += granted
        return granted

    def used(self, now: float) -> int:
        """How many units are taken now."""
        self._advance(now)
        return self._used

    def left(self) -> int:
        """What was left at the last `take`."""
        return self._quota.units - self._used

    def frees_in(self, now: float) -> float:
        """In how many seconds the oldest units come back; 0 if none are taken."""
        if not self._used:
            return 0.0
        while not self._cells[self._oldest % len(self._cells)]:
            self._oldest += 1
        return max(0.0, (self._oldest + len(self._cells)) * self._width - now)

    def _advance(self, now: float) -> None:
        cell = int(now / self._width)
        if cell == self._last:
            return
        if cell - self._last >= len(self._cells):
            self._cells = array("I", bytes(4 * (CELLS + 1)))
            self._used = 0
        else:
            for passed in range(self._last + 1, cell + 1):
                place = passed % len(self._cells)
                self._used -= self._cells[place]
                self._cells[place] = 0
        self._oldest = max(self._oldest, cell - CELLS)
        self._last = max(self._last, cell)


class Ledger:
    """The windows of all keys of one kind; of too many keys, those that were not used for longest are forgotten."""

    def __init__(self, quota: Quota, most_keys: int = MOST_KEYS) -> None:
        self.quota, self._most_keys = quota, most_keys
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def used(self, now: float) -> dict[str, int]:
        """What each key has used that has used any."""
        return {key: used for key, window in self._windows.items() if (used := window.used(now))}

    def window(self, key: str) -> Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(self.quota)
            if len(self._windows) > self._most_keys:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        return window
