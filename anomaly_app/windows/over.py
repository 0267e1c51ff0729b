"""Detector functions over the rows of a key, as an operator: ``ML_DETECT_ANOMALIES(…) OVER (PARTITION BY …)``.

The rows of a call are taken together: their keys become numbers of series, their values one array, and each detector
sees all of them in one update. A row is judged by the rows before it, and of rows with equal times by those that came
before; RANGE and ROWS mean the same here, since a judgement of its own peers would not be one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from anomaly_app.detectors import Detector, DetectorFunction, Verdicts
from anomaly_app.errors import AnomalyError, EvaluationError, StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, TIME, Counters, Finding, Layout, Problem, Row
from anomaly_app.patterns.state import KeyCodec
from anomaly_app.schema import Column

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DetectorCall:
    """A detector in a query.

    Args:
        function: which.
        options: checked, with the defaults of those that are not given.
        given: names of those that are.
        names: of the values.
        text: of the values, as written.
    """

    function: DetectorFunction
    options: Mapping[str, Any]
    given: tuple[str, ...]
    names: tuple[str, ...]
    text: str

    def create(self) -> Detector:
        """A fresh detector."""
        return self.function.create(self.options, self.names)


@dataclass(frozen=True, slots=True)
class CompiledOver:
    """A query with detectors for rows of one layout. All functions raise what :data:`FAILURES` says.

    Args:
        before: a source row to one of the subquery that the detectors read, None if that leaves it out; None if they
            read the table.
        point: such a row to the values of all calls, one behind the other; None if WHERE does not hold.
        project: such a row, and the result of each call, to a row of the SELECT list.
        after: that to an output row, None if the queries around leave it out; None without such.
    """

    before: Callable[[Row], Values | None] | None
    point: Callable[[Values], tuple[float, ...] | None]
    project: Callable[..., Values]
    after: Callable[[Values], Values | None] | None


class OverRule:
    """A bound query with detectors: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        calls: its detectors.
        partition_by: columns of the table that key them.
        output: columns of the query.
        reads: names of the columns of the table that it reads.
        compile: the query for rows of a layout.
        filters: texts of WHERE below and around the detectors.
        ttl_ms: state of a key that has been silent for longer, in event time, is dropped; None to keep it.
    """

    alert_type = "anomaly"

    def __init__(
        self,
        calls: Sequence[DetectorCall],
        partition_by: Sequence[Column],
        output: Sequence[Column],
        reads: Sequence[str],
        compile: Callable[[Layout], CompiledOver],
        filters: tuple[Sequence[str], Sequence[str]],
        ttl_ms: int | None,
    ) -> None:
        self.calls, self.keys, self.output, self.reads = tuple(calls), tuple(partition_by), output, reads
        self.filters, self.ttl_ms = filters, ttl_ms
        self._compile = compile

    @property
    def partition_by(self) -> Sequence[str]:
        """Names of the columns that key the detectors."""
        return tuple(column.name for column in self.keys)

    @property
    def description(self) -> str:
        """One line about the query."""
        calls = " and ".join(f"{call.function.name}({call.text})" for call in self.calls)
        return calls + (f" for each {', '.join(self.partition_by)}" if self.keys else " over all rows")

    @property
    def words(self) -> list[str]:
        """What the query does, for people: phrases in the order in which things happen."""
        below, around = self.filters
        each = f"of each {', '.join(self.partition_by)}" if self.keys else "of all rows together"
        words = ["takes each row" + (f" where {' and '.join(below)}" if below else "")]
        for call in self.calls:
            options = ", ".join(f"{name} {call.options[name]}" for name in call.given)
            words.append(
                f"judges {call.text} by {call.function.name} ({options or 'no options: the defaults'}) "
                f"from the rows before {each}, then learns from it"
            )
        words.append("gives one row for each" + (f" where {' and '.join(around)}" if around else ""))
        return [*words, "alerts for rows that a detector flags"]

    @property
    def state(self) -> str:
        """What is kept, for people."""
        kept = "a model for each key" if self.keys else "one model"
        if self.ttl_ms is not None:
            return f"{kept}, written with the rows that change it, dropped after {self.ttl_ms / 1000:g} s without rows"
        return f"{kept}, written with the rows that change it, kept for ever"

    def create(self, layout: Layout) -> OverOperator:
        """A fresh operator for rows of that layout."""
        return OverOperator(self._compile(layout), self.calls, self.keys, layout, self.ttl_ms)

    def order_key(self, layout: Layout) -> None:
        """Rows of equal event time are taken as they came."""

    def sort_key(self, layout: Layout) -> None:
        """Rows are taken as the watermark releases them."""


class OverOperator:
    """One partition of one query.

    Args:
        compiled: the query.
        calls: its detectors.
        keys: columns that key them.
        layout: of the rows.
        ttl_ms: after which a silent key is dropped; None to keep all.
    """

    keeps_rows = True

    def __init__(
        self,
        compiled: CompiledOver,
        calls: Sequence[DetectorCall],
        keys: Sequence[Column],
        layout: Layout,
        ttl_ms: int | None,
    ) -> None:
        self.problems: list[Problem] = []
        self.counters = Counters()
        self._compiled, self._ttl_ms = compiled, ttl_ms
        self._detectors = [call.create() for call in calls]
        ends = np.cumsum([detector.width for detector in self._detectors])
        self._columns = [slice(end - d.width, end) for end, d in zip(ends, self._detectors, strict=True)]
        self._state = _Keys(self._detectors, keys)
        indexes = [layout.index(column.name) for column in keys]
        self._key_of: Callable[[Row], Any] = itemgetter(*indexes) if indexes else _no_key
        self._single_key = len(indexes) == 1

    # --- the operator contract ----------------------------------------------------------------------

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        """Judge rows, learn from them, and give a finding for each."""
        rows, inputs, points = self._gather(rows)
        findings = self._judge(rows, inputs, points) if rows else []
        self._expire(watermark)
        return findings

    def advance(self, watermark: int) -> list[Finding]:
        """Keys that have been silent for too long are dropped."""
        self._expire(watermark)
        return []

    def changes(self) -> Iterable[tuple[bytes, bytes | None]]:
        """State entries of the keys that rows came for, or that were dropped, since the last call."""
        return self._state.changes(self._ttl_ms is not None)

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        self._state.restore(state, self._ttl_ms is not None)

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    # --- rows in --------------------------------------------------------------------------------------

    def _gather(self, rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Values], Sequence[tuple[float, ...]]]:
        """Rows that WHERE lets pass, as the detectors' query sees them, and their values."""
        before, point = self._compiled.before, self._compiled.point
        try:
            inputs: Sequence[Any] = rows if before is None else [before(row) for row in rows]
            points: Sequence[Any] = [None if values is None else point(values) for values in inputs]
        except FAILURES:
            good: list[Row] = []
            inputs, points = [], []
            for row in rows:
                try:
                    values = row if before is None else before(row)
                    taken = None if values is None else point(values)
                except FAILURES as error:
                    self._problem(error, row)
                else:
                    good.append(row)
                    inputs.append(values)
                    points.append(taken)
            rows = good
        if None in points:
            places = [place for place, taken in enumerate(points) if taken is not None]
            rows, inputs, points = ([part[place] for place in places] for part in (rows, inputs, points))
        return rows, inputs, points

    def _judge(
        self, rows: Sequence[Row], inputs: Sequence[Values], points: Sequence[tuple[float, ...]]
    ) -> list[Finding]:
        keys = list(map(self._key_of, rows))
        times = [row[TIME] for row in rows]
        series, over = self._state.numbers(keys, times, self._ttl_ms)
        numbers, moments = np.array(series, dtype=np.int64), np.array(times, dtype=np.int64)
        values = np.array(points, dtype=np.float64)
        values[~np.isfinite(values)] = np.nan  # infinity is no measurement, and a model would not survive it
        judged = [
            detector.update(numbers, moments, values[:, columns])
            for detector, columns in zip(self._detectors, self._columns, strict=True)
        ]
        self._state.free(over)
        return self._findings(rows, inputs, keys, judged)

    # --- output ---------------------------------------------------------------------------------------

    def _findings(
        self, rows: Sequence[Row], inputs: Sequence[Values], keys: Sequence[Any], judged: Sequence[Verdicts]
    ) -> list[Finding]:
        project, after, single = self._compiled.project, self._compiled.after, self._single_key
        flags = [verdicts.flags() for verdicts in judged]
        scores = [verdicts.scores() for verdicts in judged]
        results = list(zip(*[verdicts.values() for verdicts in judged], strict=True))
        findings = []
        for place, (row, taken, key, result) in enumerate(zip(rows, inputs, keys, results, strict=True)):
            key = (key,) if single else key
            try:
                values: Values | None = project(taken, *result)
                if after is not None and values is not None:
                    values = after(values)
            except FAILURES as error:
                self._problem(error, row, key)
                continue
            if values is None:
                continue
            finding = Finding(key, row[TIME], values, row, alert=False)
            flagged = [number for number, flag in enumerate(flags) if flag[place]]
            if flagged:
                finding.alert = True
                finding.score = _greatest([scores[number][place] for number in flagged])
                finding.explanation = "; ".join([judged[number].explain(place) for number in flagged])
            findings.append(finding)
        return findings

    def _problem(self, error: Exception, row: Row, key: Values = ()) -> None:
        problem = error if isinstance(error, AnomalyError) else EvaluationError(str(error))
        self.problems.append(Problem(problem, [row], key))

    def _expire(self, watermark: int) -> None:
        if self._ttl_ms is not None and MIN_WATERMARK < watermark < MAX_WATERMARK:
            dropped = self._state.expire(watermark, self._ttl_ms)
            if dropped:
                self.counters.add("expired_keys", dropped)


def _no_key(row: Row) -> tuple[()]:
    return ()


def _greatest(scores: Sequence[float | None]) -> float | None:
    return max((score for score in scores if score is not None and math.isfinite(score)), default=None)


MODEL = b"m"
"""Begins the entries of detectors: number of the detector, length of the key, key, name that the detector chose."""
SEEN = b"s"
"""Begins the entries of keys that may expire: event time of the last row."""

_NOTHING: frozenset[bytes] = frozenset()


class _Keys:
    """Which key is which series, what is stored of each, and when it was last seen.

    A key that expires gets a fresh series; its old number is given to others.
    """

    def __init__(self, detectors: Sequence[Detector], keys: Sequence[Column]) -> None:
        self._detectors, self._codec = detectors, KeyCodec(keys)
        self._single = len(keys) == 1
        self._numbers: dict[Any, int] = {}
        self._free: list[int] = []
        self._next = self._room = 0
        self._seen: OrderedDict[Any, int] = OrderedDict()
        self._unseen: list[Any] = []
        self._stored: dict[Any, frozenset[bytes]] = {}
        self._names: dict[frozenset[bytes], frozenset[bytes]] = {}
        self._touched: dict[Any, None] = {}
        self._begun_again: set[Any] = set()
        self._obsolete: list[bytes] = []

    # --- series -------------------------------------------------------------------------------------

    def numbers(self, keys: Sequence[Any], times: Sequence[int], ttl_ms: int | None) -> tuple[list[int], list[int]]:
        """Series of the rows, and those that have ended with their key: to be freed when the rows are judged."""
        self._touched.update(dict.fromkeys(keys))
        series, over, known = [], [], self._numbers
        if ttl_ms is None:
            for key in keys:
                number = known.get(key)
                series.append(self._begin(key) if number is None else number)
        else:
            seen = self._seen
            for key, time in zip(keys, times, strict=True):
                number = known.get(key)
                if number is not None and time - seen.get(key, time) > ttl_ms:
                    over.append(self._end(key))
                    number = None
                series.append(self._begin(key) if number is None else number)
                seen[key] = time
                seen.move_to_end(key)
        return series, over

    def expire(self, watermark: int, ttl_ms: int) -> int:
        """Drop keys whose next row can only come too late; how many there were."""
        seen, over = self._seen, []
        for key in self._unseen:
            seen.setdefault(key, watermark)
        self._unseen = []
        while seen:
            key, time = next(iter(seen.items()))
            if time + ttl_ms > watermark:
                break
            del seen[key]
            over.append(self._end(key))
            self._touched[key] = None
        self.free(over)
        return len(over)

    def free(self, series: Sequence[int]) -> None:
        """The numbers may be given to other keys."""
        for number in series:
            for detector in self._detectors:
                detector.forget(number)
        self._free += series

    def _begin(self, key: Any) -> int:
        if self._free:
            number = self._free.pop()
        else:
            number = self._next
            self._next += 1
        if number >= self._room:
            # Ever more at once: detectors copy what they hold when they grow.
            self._room = max(number + 1, self._room + self._room // 2)
            for detector in self._detectors:
                detector.grow(self._room)
        self._numbers[key] = number
        return number

    def _end(self, key: Any) -> int:
        self._begun_again.add(key)
        return self._numbers.pop(key)

    # --- state ----------------------------------------------------------------------------------------

    def changes(self, expires: bool) -> Iterator[tuple[bytes, bytes | None]]:
        """Entries put and deleted since the last call."""
        touched, begun_again, obsolete = self._touched, self._begun_again, self._obsolete
        self._touched, self._begun_again, self._obsolete = {}, set(), []
        for name in obsolete:
            yield name, None
        for key in touched:
            name = self._codec.encode((key,) if self._single else key)
            number, before = self._numbers.get(key), self._stored.get(key, _NOTHING)
            known = set(_NOTHING if key in begun_again else before)
            for place, detector in enumerate(self._detectors if number is not None else ()):
                head = place.to_bytes(2, "big")
                for entry, value in detector.changes(number):  # type: ignore[arg-type]
                    yield _model_key(head, name, entry), value
                    (known.discard if value is None else known.add)(head + entry)
            for gone in before - known if key in begun_again else ():
                yield _model_key(gone[:2], name, gone[2:]), None
            if number is None:
                self._stored.pop(key, None)
                yield SEEN + name, None
                continue
            if known != before:
                names = frozenset(known)
                self._stored[key] = self._names.setdefault(names, names)
            if expires:
                yield SEEN + name, msgspec.msgpack.encode(self._seen[key])

    def restore(self, entries: Iterable[tuple[bytes, bytes]], expires: bool) -> None:
        """Take back the entries that stand."""
        models: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {}
        seen: dict[bytes, int] = {}
        for entry, value in entries:
            if entry.startswith(MODEL) and len(entry) >= 7:
                end = 7 + int.from_bytes(entry[3:7], "big")
                models.setdefault(entry[7:end], []).append((entry[1:3], entry[end:], value))
            elif entry.startswith(SEEN):
                seen[entry[1:]] = _decode_time(value)
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")
        keys = {}
        for name in {**models, **(seen if expires else {})}:
            values = self._codec.decode(name)
            key = keys[name] = values[0] if self._single else values
            number, parts = self._begin(key), models.get(name, [])
            for place, detector in enumerate(self._detectors):
                head = place.to_bytes(2, "big")
                detector.restore(number, [(entry, value) for owner, entry, value in parts if owner == head])
            names = frozenset(owner + entry for owner, entry, _ in parts)
            self._stored[key] = self._names.setdefault(names, names)
        if not expires:
            self._obsolete = [SEEN + name for name in seen]
            return
        # Without a time are keys that were stored before they could expire: silent from now on.
        self._unseen = [keys[name] for name in models if name not in seen]
        for name, time in sorted(seen.items(), key=itemgetter(1)):
            self._seen[keys[name]] = time


def _model_key(head: bytes, name: bytes, entry: bytes) -> bytes:
    return MODEL + head + len(name).to_bytes(4, "big") + name + entry


def _decode_time(data: bytes) -> int:
    try:
        return msgspec.msgpack.decode(data, type=int)
    except msgspec.DecodeError as error:
        raise StateError(f"a stored time is unreadable: {error}") from error
