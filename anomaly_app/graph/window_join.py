"""Window join: the rows of two inputs in the same window, when the watermark of both has reached its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.errors import StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.held import HeldRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, POSITION, Layout, Row

_NAMES = (b"a", b"b")
"""Begin the entries of the rows of each side."""


@dataclass(frozen=True, slots=True)
class JoinSide:
    """One input.

    Args:
        layout: of its rows.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: what must be equal on both sides: one value, or a tuple of several or none.
        start: index of the start of the window in a row.
        end: and of its end.
    """

    layout: Layout
    reads: Collection[str]
    key_of: Callable[[Row], Any]
    start: int
    end: int

    @property
    def width(self) -> int:
        """Of a row, without what stands behind the columns."""
        return COLUMNS + len(self.layout.columns)


@dataclass(frozen=True, slots=True)
class WindowJoinPlan:
    """A window join for rows of two layouts.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT``, ``FULL``, ``SEMI`` or ``ANTI``.
        left: one input.
        right: the other.
        condition: what else holds for a pair; None for nothing.
    """

    kind: str
    left: JoinSide
    right: JoinSide
    condition: Callable[[Row, Row], Any] | None


_Window = tuple[list[tuple[int, Row]], list[tuple[int, Row]]]


class WindowJoinRows(Vertex):
    """Holds the rows of open windows.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: WindowJoinPlan) -> None:
        super().__init__(plan.left.width)
        self._plan = plan
        self._sides = (plan.left, plan.right)
        self._held = tuple(HeldRows(side.layout, side.reads) for side in self._sides)
        self._windows: dict[tuple[int, int], _Window] = {}
        """By end and start."""

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and give out windows that are over."""
        watermark = min(flow.watermark for flow in flows)
        reached = self.watermark
        for place, flow in enumerate(flows):
            side, held = self._sides[place], self._held[place]
            for row in flow.rows:
                if row[side.end] - 1 <= reached:
                    self._drop(row, place)
                else:
                    self._window(place, row)[place].append((held.add(row), row))
        found: list[Row] = []
        for window in sorted(window for window in self._windows if window[0] - 1 <= watermark):
            rows = self._windows.pop(window)
            found += self._result(window[0] - 1, *([row for _, row in side] for side in rows))
            for held, side_rows in zip(self._held, rows, strict=True):
                for number, _ in side_rows:
                    held.drop(number)
        return Flow(found, watermark)

    def _window(self, place: int, row: Row) -> _Window:
        side = self._sides[place]
        return self._windows.setdefault((row[side.end], row[side.start]), ([], []))

    def _drop(self, row: Row, place: int) -> None:
        self.counters.add("late")
        if place:
            self.late_others.append((place, row))
        else:
            self.late.append(row)

    # --- pairs ----------------------------------------------------------------------------------------

    def _result(self, time: int, left: Sequence[Row], right: Sequence[Row]) -> Iterator[Row]:
        kind = self._plan.kind
        by_key = self._by_key(right)
        seen: set[int] = set()
        nothing = [None] * (self._plan.right.width - COLUMNS)
        for row in left:
            others = self._others(row, by_key)
            if kind in ("SEMI", "ANTI"):
                if (next(others, None) is not None) == (kind == "SEMI"):
                    yield (time, row[POSITION], *row[COLUMNS : self.width], _origin((row, self.width)))
                continue
            alone = True
            for number, other in others:
                alone = False
                seen.add(number)
                yield self._pair(time, row, other)
            if alone and kind in ("LEFT", "FULL"):
                yield (time, row[POSITION], *row[COLUMNS : self.width], *nothing, _origin((row, self.width)))
        if kind not in ("RIGHT", "FULL"):
            return
        width, nothing = self._plan.right.width, [None] * (self.width - COLUMNS)
        for number, row in enumerate(right):
            if number not in seen:
                yield (time, row[POSITION], *nothing, *row[COLUMNS:width], _origin((row, width)))

    def _by_key(self, rows: Sequence[Row]) -> dict[Any, list[tuple[int, Row]]]:
        """Rows that can meet others, with their numbers: NULL equals nothing."""
        key_of, found = self._plan.right.key_of, dict[Any, list[tuple[int, Row]]]()
        for number, row in enumerate(rows):
            key = key_of(row)
            if not _has_null(key):
                found.setdefault(key, []).append((number, row))
        return found

    def _others(self, row: Row, by_key: dict[Any, list[tuple[int, Row]]]) -> Iterator[tuple[int, Row]]:
        key, condition = self._plan.left.key_of(row), self._plan.condition
        if _has_null(key):
            return
        for number, other in by_key.get(key, ()):
            if condition is not None:
                try:
                    holds = condition(row, other)
                except FAILURES as error:
                    self.fail(error, row)
                    continue
                if not holds:
                    continue
            yield number, other

    def _pair(self, time: int, left: Row, right: Row) -> Row:
        width = self._plan.right.width
        return (
            time, max(left[POSITION], right[POSITION]), *left[COLUMNS : self.width], *right[COLUMNS:width],
            _origin((left, self.width), (right, width)),
        )  # fmt: skip

    # --- state ----------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Rows that came or went."""
        for name, held in zip(_NAMES, self._held, strict=True):
            for number, value in held.changes():
                yield name + number, value

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows of open windows."""
        own: dict[bytes, list[tuple[bytes, bytes]]] = {name: [] for name in _NAMES}
        for name, value in entries:
            if name[:1] not in own:
                raise StateError(f"an entry of another kind of state: {name!r}")
            own[name[:1]].append((name[1:], value))
        for place, held in enumerate(self._held):
            for number, _, row in held.restore(own[_NAMES[place]]):
                self._window(place, row)[place].append((number, row))


def _has_null(key: Any) -> bool:
    return key is None or (type(key) is tuple and None in key)


def _origin(*rows: tuple[Row, int]) -> tuple[Any, ...]:
    """The origin of a row made of some rows, each given with its width: the last of them says where it stands."""
    path: tuple[Any, ...] = ()
    places = []
    for row, width in rows:
        behind = row[width:]
        if len(behind) == 1:
            own, *place = behind[0]
            path += tuple(own)
        else:
            place = [row[POSITION], *behind]
        path += (place[0],)
        places.append(place)
    return (path, *max(places, key=lambda place: place[0]))
