"""How much somebody may ask for: never more than `units` in any span of `seconds`, exact to a 400th of the span."""

from array import array
from collections import OrderedDict
from typing import NamedTuple

CELLS = 400
RING = CELLS + 1  # the cell that is being filled, and the whole span before it
MOST_KEYS = 20_000


class Quota(NamedTuple):
    units: int
    seconds: int


class Window:
    """What one key has used in the last `seconds`: a ring of counters. Times are of any clock that never goes back.

    `left` is what was left at the last `take`.
    """

    __slots__ = ("_cells", "_last", "_oldest", "_units", "_width", "left")

    def __init__(self, quota: Quota) -> None:
        self._units, self.left, self._width = quota.units, quota.units, quota.seconds / CELLS
        self._cells = array("I", bytes(4 * RING))
        self._last = self._oldest = 0

    def take(self, units: int, now: float) -> int:
        """Takes as many units as there are, up to so many; how many it were."""
        cell = int(now / self._width)
        if cell != self._last:
            self._advance(cell)
        granted = min(units, self.left)
        if granted > 0:
            if self.left == self._units:
                self._oldest = self._last
            self._cells[self._last % RING] += granted
            self.left -= granted
        return granted

    def used(self, now: float) -> int:
        """How many units are taken now."""
        self._advance(int(now / self._width))
        return self._units - self.left

    def frees_in(self, now: float) -> float:
        """In how many seconds the oldest units come back; 0 if none are taken."""
        if self.left == self._units:
            return 0.0
        while not self._cells[self._oldest % RING]:
            self._oldest += 1
        return max(0.0, (self._oldest + RING) * self._width - now)

    def _advance(self, cell: int) -> None:
        if cell - self._last >= RING:
            self._cells = array("I", bytes(4 * RING))
            self.left = self._units
        else:
            for passed in range(self._last + 1, cell + 1):
                place = passed % RING
                self.left += self._cells[place]
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
