"""Where the signals of many series are kept: series that have remembered as many rows are rows of the same arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Integers
from anomaly_app.scoring.discords import Discords

SLAB_BYTES, LEAST = 8_000_000, 8
"""Size of a slab at most, unless that is less than so many series."""


class Size(NamedTuple):
    """What series of a slab have in common.

    Args:
        rows: that were remembered when they were set up.
        room: rows that come until they are set up anew.
    """

    rows: int
    room: int


class Slab:
    """Signals and comparisons of shapes of some series of one size.

    Args:
        slots: series that there is room for.
        size: of each.
        signals: of each.
        length: means in a shape.
        steps: values in such a mean, of each kind of shape.
    """

    def __init__(self, slots: int, size: Size, signals: int, length: int, steps: Sequence[int]) -> None:
        self.size = size
        self.members = np.full(slots, -1, dtype=np.int64)
        """The series in each slot; -1 where there is none."""
        self.used = 0
        self.signals = np.full((slots, signals, size.rows + size.room), math.nan)
        self.discords = [
            Discords(slots, length, size.rows // step, size.room // step) if size.rows // step >= 2 * length else None
            for step in steps
        ]

    def copied(self, slots: Integers, room: int) -> Slab:
        """Another one with only some of the slots, which come first, and room for so many."""
        other = object.__new__(Slab)
        other.size, other.used = self.size, len(slots)
        other.members = np.full(room, -1, dtype=np.int64)
        other.members[: len(slots)] = self.members[slots]
        other.signals = np.full((room, *self.signals.shape[1:]), math.nan)
        other.signals[: len(slots)] = self.signals[slots]
        other.discords = [None if discords is None else discords.copied(slots, room) for discords in self.discords]
        return other


class Group(NamedTuple):
    """Series of a call that are in one slab.

    Args:
        slab: where they are.
        which: places in the call.
        slots: places in the slab: from one to another, or any.
        phase: rows since they were set up; one number if ``slots`` is a slice.
    """

    slab: Slab
    which: slice | Integers
    slots: slice | Integers
    phase: int | Integers

    def those(self, wanted: NDArray[np.bool_]) -> Group:
        """Some of the series; all where they have one phase.

        Args:
            wanted: which, by their places in the call; a question of the phase.
        """
        if isinstance(self.slots, slice) or isinstance(self.phase, int):
            return self
        some = np.flatnonzero(wanted[self.which])
        which = np.arange(len(wanted))[self.which][some]
        return Group(self.slab, which, self.slots[some], self.phase[some])


class Slabs:
    """The slabs of many series.

    A series moves to another slab whenever it is set up. Those that come in step stay next to each other, so that what
    is done to all of them is done to arrays as they are; any others are copied out and back.

    Args:
        signals: of each series.
        length: means in a shape.
        steps: values in such a mean, of each kind of shape.
    """

    def __init__(self, signals: int, length: int, steps: Sequence[int]) -> None:
        self._signals, self._length, self._steps = signals, length, tuple(steps)
        self._slabs: list[Slab | None] = []
        self._of_size: dict[Size, list[int]] = {}
        self._slab, self._slot = np.zeros((2, 0), dtype=np.int64)
        self._left: set[int] = set()

    def grow(self, series: int) -> None:
        """Make room."""
        self._slab = np.concatenate([self._slab, np.full(series - len(self._slab), -1, dtype=np.int64)])
        self._slot = np.concatenate([self._slot, np.zeros(series - len(self._slot), dtype=np.int64)])

    def __getitem__(self, number: int) -> Slab:
        slab = self._slabs[number]
        assert slab is not None
        return slab

    def where(self, series: int) -> tuple[Slab, int]:
        """Slab and slot of a series that has one."""
        return self[self._slab[series]], int(self._slot[series])

    def slots(self, series: Integers) -> Integers:
        """Slots of series that have one."""
        return self._slot[series]

    def groups(self, series: Integers, phase: Integers) -> list[Group]:
        """Series by their slabs.

        Args:
            series: each once; all have a slab.
            phase: rows since each was set up.
        """
        slabs, slots = self._slab[series], self._slot[series]
        order = None
        if len(slabs) > 1 and (slabs[1:] < slabs[:-1]).any():
            order = np.argsort(slabs, kind="stable")
            slabs, slots, phase = slabs[order], slots[order], phase[order]
        bounds = [0, *(np.flatnonzero(slabs[1:] != slabs[:-1]) + 1).tolist(), len(slabs)]
        found = []
        for first, end in itertools.pairwise(bounds):
            part = slice(first, end)
            slab = self[slabs[first]]
            which = part if order is None else order[part]
            own, rows, low = slots[part], phase[part], int(slots[first])
            if int(own[-1]) - low == end - first - 1 and (own[1:] > own[:-1]).all() and (rows == rows[0]).all():
                found.append(Group(slab, which, slice(low, low + end - first), int(rows[0])))
            else:
                found.append(Group(slab, which, own, rows))
        return found

    def take(self, series: Integers, size: Size) -> Iterator[tuple[Slab, slice, Integers]]:
        """Give slots to series that have none: slab, which of the series, and the slots there."""
        done, known = 0, self._of_size.setdefault(size, [])
        while done < len(series):
            number = next((each for each in known if self[each].used < len(self[each].members)), None)
            if number is None:
                number = self._made(size, len(series) - done)
            slab = self[number]
            free = np.flatnonzero(slab.members < 0)[: len(series) - done]
            part = slice(done, done + len(free))
            slab.members[free] = series[part]
            slab.used += len(free)
            self._slab[series[part]], self._slot[series[part]] = number, free
            yield slab, part, free
            done = part.stop

    def _made(self, size: Size, wanted: int) -> int:
        """The number of a new slab: for as many series as there are of its size already, or more."""
        known = self._of_size[size]
        each = 8 * (size.rows + size.room) * (self._signals + sum(6 // step for step in self._steps))
        slots = min(
            max(wanted, sum(self[number].used for number in known), LEAST),
            max(SLAB_BYTES // each, LEAST),
        )
        slab = Slab(slots, size, self._signals, self._length, self._steps)
        number = next((number for number, held in enumerate(self._slabs) if held is None), len(self._slabs))
        self._slabs[number : number + 1] = [slab]
        known.append(number)
        return number

    def release(self, series: Integers) -> None:
        """Take their slots from series."""
        for number in np.unique(self._slab[series]).tolist():
            own = series[self._slab[series] == number]
            slab = self[number]
            slab.members[self._slot[own]] = -1
            slab.used -= len(own)
            self._slab[own] = -1
            self._left.add(number)

    def tidy(self, lent: NDArray[np.bool_]) -> None:
        """Make slabs that series have left smaller if a quarter of them is used at most.

        Args:
            lent: series whose arrays somebody else writes to: these stay where they are.
        """
        kept = set()
        for number in self._left:
            slab = self[number]
            if not slab.used:
                self._slabs[number] = None
                self._of_size[slab.size].remove(number)
            elif len(slab.members) > max(4 * slab.used, LEAST):
                used = np.flatnonzero(slab.members >= 0)
                if lent[slab.members[used]].any():
                    kept.add(number)
                    continue
                self._slabs[number] = slab.copied(used, 2 * len(used))
                self._slot[slab.members[used]] = np.arange(len(used))
        self._left = kept
