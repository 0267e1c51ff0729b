"""Left discords of many series: :class:`~anomaly_app.scoring.discord.Discord`, a series in each row of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.scoring.discord import FARTHEST, SMALLEST, Discord, compare

TOGETHER = 8192
"""Numbers in an operation: those of a few operations stay in the cache."""
BY_ITSELF = 1024
"""Subsequences from which on a series that does not stand next to others of its phase goes by itself."""


class Discords:
    """Distances of the subsequences of some series, which were all set up on as many values.

    The arithmetic is that of :class:`Discord`, operation by operation, so that both give the same bits.

    Args:
        slots: series that there is room for.
        length: values in a subsequence.
        count: values that each is set up on; at least twice the length.
        room: values that can be added before it is set up anew.
    """

    def __init__(self, slots: int, length: int, count: int, room: int) -> None:
        self.length, self.starts = length, count - length + 1
        self.compared = self.starts - length
        self.center, self.floor, self.mean, self.squares, self.sums = np.zeros((5, slots))
        self.values = np.zeros((slots, length + room))
        self.rises, self.falls, self.inverse, self.norm = (np.zeros((slots, self.starts + room)) for _ in range(4))
        self.covariance = np.zeros((slots, self.compared))

    def set_up(self, slots: Integers, values: Floats, floor: Floats) -> None:
        """Start from the values so far of some series.

        Args:
            slots: where they are put.
            values: one series in a row.
            floor: of each, the smallest standard deviation that a subsequence is divided by.
        """
        made = compare(values, floor, self.length)
        self.center[slots], self.floor[slots] = made.center, floor
        self.mean[slots], self.squares[slots] = made.mean, made.squares
        self.sums[slots] = made.mean * self.length
        self.values[slots, : self.length] = made.values
        for name in ("rises", "falls", "inverse", "norm"):
            getattr(self, name)[slots, : self.starts] = getattr(made, name)
        self.covariance[slots] = made.covariance

    def add(self, slots: slice | Integers, added: int | Integers, values: Floats) -> Floats:
        """Take a value of each of some series.

        Args:
            slots: where they are: from one to another, or any.
            added: values that were added before; one number for all if the slots are a slice.
            values: one of each.

        Returns:
            The distances of the subsequences that they end.
        """
        m, start = self.length, self.starts + added
        before = self.mean[slots]
        leaves, comes = self.values[slots, added], values - self.center[slots]
        change = comes - leaves
        sums = self.sums[slots] + change
        mean = sums / m
        rise, fall = change * 0.5, (comes - mean) + (leaves - before)
        squares = np.maximum(self.squares[slots] + 2.0 * rise * fall, 0.0)
        deviation = np.sqrt(squares / m)
        divisor = np.maximum(deviation, self.floor[slots])
        inverse = np.zeros(len(values))
        np.divide(1.0, divisor, out=inverse, where=divisor > SMALLEST)
        unit = deviation * inverse
        norm = unit * unit * m
        self.values[slots, added + m] = comes
        self.sums[slots], self.mean[slots], self.squares[slots] = sums, mean, squares
        self.rises[slots, start], self.falls[slots, start] = rise, fall
        self.inverse[slots, start], self.norm[slots, start] = inverse, norm
        nearest = self._nearest(slots, added, rise, fall, inverse)
        return np.minimum(np.sqrt(np.maximum(norm + nearest, 0.0) / m), FARTHEST)

    def _nearest(
        self, slots: slice | Integers, added: int | Integers, rise: Floats, fall: Floats, inverse: Floats
    ) -> Floats:
        """Of each, the least norm of an earlier subsequence less twice its product with the last one.

        Arrays are used where they stand if series of one phase stand next to each other, or if they are long; short
        ones are put together first.
        """
        count, found = len(rise), np.empty(len(rise))
        arrays = self.rises, self.falls, self.inverse, self.norm
        together = max(TOGETHER // self.compared, 1)
        if isinstance(slots, slice) or isinstance(added, int):
            assert isinstance(slots, slice)
            assert isinstance(added, int)
            window = slice(added + 1, added + 1 + self.compared)
            for first in range(0, count, together):
                part = slice(first, first + together)
                rows = slice(slots.start + first, min(slots.start + first + together, slots.stop))
                windows = [values[rows, window] for values in arrays]
                change = rise[part, None], fall[part, None], inverse[part, None]
                found[part] = _least(windows, self.covariance[rows], *change)
        elif self.compared >= BY_ITSELF:
            changes = zip(rise.tolist(), fall.tolist(), inverse.tolist(), strict=True)
            for place, (slot, first, change) in enumerate(zip(slots.tolist(), added.tolist(), changes, strict=True)):
                window = slice(first + 1, first + 1 + self.compared)
                windows = [values[slot, window] for values in arrays]
                found[place] = _least(windows, self.covariance[slot], *change)
        else:
            for first in range(0, count, together):
                part = slice(first, first + together)
                own = slots[part]
                at = (own * self.norm.shape[1] + added[part] + 1)[:, None] + np.arange(self.compared)
                # to clip is faster than to check
                windows = [np.take(values.reshape(-1), at, out=np.empty(at.shape), mode="clip") for values in arrays]
                covariance = self.covariance[own]
                found[part] = _least(windows, covariance, rise[part, None], fall[part, None], inverse[part, None])
                self.covariance[own] = covariance
        return found

    def lend(self, slot: int, added: int) -> Discord:
        """One of the series by itself, on the same arrays."""
        one = Discord(self.length)
        one.floor, one.center = float(self.floor[slot]), float(self.center[slot])
        one.mean, one.squares, one.sums = float(self.mean[slot]), float(self.squares[slot]), float(self.sums[slot])
        one.first = self.starts - 1
        one.start = one.first + added
        one.values, one.rises, one.falls = self.values[slot], self.rises[slot], self.falls[slot]
        one.inverse, one.norm, one.covariance = self.inverse[slot], self.norm[slot], self.covariance[slot]
        one.scratch = np.empty(self.compared)
        return one

    def take_back(self, slot: int, one: Discord) -> None:
        """What has changed of a series that was lent and not set up anew."""
        self.mean[slot], self.squares[slot], self.sums[slot] = one.mean, one.squares, one.sums

    def put(self, slot: int, one: Discord) -> None:
        """A series that was by itself."""
        self.take_back(slot, one)
        self.center[slot], self.floor[slot] = one.center, one.floor
        self.values[slot], self.covariance[slot] = one.values, one.covariance
        self.rises[slot], self.falls[slot], self.inverse[slot], self.norm[slot] = (
            one.rises,
            one.falls,
            one.inverse,
            one.norm,
        )

    def copied(self, slots: Integers, room: int) -> Discords:
        """Another one with only some of the series, which come first, and room for so many."""
        other = object.__new__(Discords)
        other.length, other.starts, other.compared = self.length, self.starts, self.compared
        for name in _ARRAYS:
            held = getattr(self, name)
            made = np.zeros((room, *held.shape[1:]))
            made[: len(slots)] = held[slots]
            setattr(other, name, made)
        return other


_ARRAYS = (
    "center",
    "floor",
    "mean",
    "squares",
    "sums",
    "values",
    "rises",
    "falls",
    "inverse",
    "norm",
    "covariance",
)


def _least(windows: Sequence[Floats], covariance: Floats, rise: Any, fall: Any, inverse: Any) -> Any:
    """The least of the last axis; the covariance moves on. See :meth:`Discord.add`."""
    rises, falls, inverses, norms = windows
    scratch = np.multiply(falls, rise)
    covariance += scratch
    np.multiply(rises, fall, out=scratch)
    covariance += scratch
    np.multiply(covariance, inverses, out=scratch)
    scratch *= -2.0 * inverse
    scratch += norms
    return scratch.min(axis=-1)
