"""Series in a file: which columns they are in, and their rows in event-time order."""

from __future__ import annotations

import datetime
import difflib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anomaly_app.cli.files import FileTable, Unreadable
    from anomaly_app.detectors import Floats, Integers

_SECONDS_BELOW, _MILLISECONDS_BELOW = 1e11, 1e14
"""Numbers as times: seconds since 1970 up to the year 5138; above, milliseconds up to it; above, microseconds."""


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of a file in event-time order.

    Args:
        time: name of the time column.
        by: names of the columns that tell the series apart.
        values: names of those that are judged.
        categories: names of those of them that hold texts.
        keys: of the series, by number.
        series: whose row it is, shape (n,).
        times: in ms, shape (n,).
        points: shape (n, values); NaN is a missing value.
        shown: the values as they are in the file.
        problems: what could not be read, in words.
        unreadable: rows with a value or time that could not be read.
        untimed: those of them without a time, which are left out.
    """

    time: str
    by: tuple[str, ...]
    values: tuple[str, ...]
    categories: tuple[str, ...]
    keys: list[tuple[Any, ...]]
    series: Integers
    times: Integers
    points: Floats
    shown: list[tuple[Any, ...]]
    problems: list[str]
    unreadable: int
    untimed: int

    def __len__(self) -> int:
        return len(self.times)


def read_series(
    path: Path, values: Sequence[str], time: str | None, by: Sequence[str], categories: Sequence[str] = ()
) -> Series:
    """Read series.

    Args:
        path: a file that :func:`~anomaly_app.cli.files.read_table` reads.
        values: columns that are judged. Of several, one that holds texts is a category.
        time: column of event times: texts, or numbers since 1970; None for the only TIMESTAMP column.
        by: columns that tell series apart.
        categories: of the values, those that are categories though they hold numbers.

    Raises:
        DataError: the file cannot be read, has no such column, or a column has nothing of its kind.
    """
    from anomaly_app.cli.files import read_table

    table = read_table(path)
    for name in (*values, *by, *(() if time is None else (time,))):
        table.reach(name)
    names = table.names
    value_places = [_place(names, value, path) for value in values]
    by_places = [_place(names, name, path) for name in by]
    time_place = _time_place(table, path) if time is None else _place(names, time, path)
    texts = [names[place] in categories or (len(values) > 1 and _is_text(table, place)) for place in value_places]
    return _collect(table, path, time_place, by_places, value_places, texts)


def only_value(path: Path, apart_from: Sequence[str]) -> str:
    """The only column of numbers.

    Args:
        path: a file that :func:`~anomaly_app.cli.files.read_table` reads.
        apart_from: columns that are something else.

    Raises:
        DataError: the file cannot be read, or has several or none.
    """
    from anomaly_app.cli.files import read_table

    others = {name.lower() for name in apart_from}
    columns = [(name, type_) for name, type_ in read_table(path).columns if name.lower() not in others]
    found = [name for name, type_ in columns if type_.startswith(_NUMBERS)]
    if len(found) != 1:
        have = f"numbers are in {', '.join(found)}" if found else "no column holds numbers"
        raise DataError(f"{path}: say with --value which column is judged; {have}")
    return found[0]


_NUMBERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL", "FLOAT", "DOUBLE")
_LABELS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}


def read_labels(path: Path, series: Series) -> NDArray[np.bool_]:
    """Whether each row is labelled as an anomaly, by its last value; a row without a label is not.

    Raises:
        DataError: a label is neither 1 nor 0.
    """
    import numpy as np

    marked = np.zeros(len(series), dtype=np.bool_)
    for row, shown in enumerate(series.shown):
        text = "" if shown[-1] is None else str(shown[-1]).strip().lower()
        if text and text not in _LABELS:
            raise DataError(
                f"{path}: column {series.values[-1]!r} has {shown[-1]!r}: labels are 1 (or true, yes) in anomalies and "
                "0 (or false, no, nothing) elsewhere"
            )
        marked[row] = _LABELS.get(text, False)
    return marked


def _collect(
    table: FileTable, path: Path, time: int, by: Sequence[int], values: Sequence[int], texts: Sequence[bool]
) -> Series:
    import numpy as np

    names = table.names
    readers: list[Callable[[Any], float]] = [_category if text else _number for text in texts]
    wrong = _Problems()
    numbers: dict[tuple[Any, ...], int] = {}
    series, times, points, shown = [], [], [], []
    unreadable = untimed = len(table.unreadable)
    for number, row in enumerate(table.rows, 1):
        before = wrong.count
        moment = wrong.read(_milliseconds, row[time], names[time], number)
        point = [
            math.nan if row[place] is None else wrong.read(read, row[place], names[place], number)
            for place, read in zip(values, readers, strict=True)
        ]
        unreadable += wrong.count > before
        if moment != moment:
            untimed += 1
            continue
        key = tuple(row[place] for place in by)
        series.append(numbers.setdefault(key, len(numbers)))
        times.append(int(moment))
        points.append(point)
        shown.append(tuple(row[place] for place in values))
    for places, count, expected in (([time], len(times), "times"), (values, _present(points), "numbers")):
        if not count:
            columns = " and ".join(repr(names[place]) for place in places)
            raise DataError(f"{path}: no {expected} in {columns}" + "".join(f"; {line}" for line in wrong.lines()))
    order = np.argsort(np.array(times, dtype=np.int64), kind="stable")
    return Series(
        names[time],
        tuple(names[place] for place in by),
        tuple(names[place] for place in values),
        tuple(names[place] for place, text in zip(values, texts, strict=True) if text),
        list(numbers),
        np.array(series, dtype=np.int64)[order],
        np.array(times, dtype=np.int64)[order],
        np.array(points, dtype=np.float64)[order],
        [shown[place] for place in order.tolist()],
        [*_lines(table.unreadable), *wrong.lines()],
        unreadable,
        untimed,
    )


def _lines(unreadable: Sequence[Unreadable]) -> list[str]:
    if not unreadable:
        return []
    line, reason, _ = unreadable[0]
    return [f"{len(unreadable):,} lines are no rows, the first is line {line}: {reason}"]


def _present(points: Sequence[Sequence[float]]) -> int:
    return sum(value == value for point in points for value in point)


class _Problems:
    """Values that could not be read: how many of each column, and the first of it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    @property
    def count(self) -> int:
        return self._counts.total()

    def read(self, read: Callable[[Any], float], value: Any, column: str, row: int) -> float:
        try:
            return read(value)
        except DataError as error:
            self._counts[column] += 1
            self._first.setdefault(column, f"record {row}: {error}")
            return math.nan

    def lines(self) -> list[str]:
        return [
            f"column {column!r}: {count:,} unreadable, the first in {self._first[column]}"
            for column, count in self._counts.items()
        ]


def _number(value: Any) -> float:
    from anomaly_app.conversions import text_to_float

    if isinstance(value, str):
        try:
            value = text_to_float(value)
        except DataError:
            raise DataError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise DataError(f"{value!r} is no number")
    return float(value)


def _category(value: Any) -> float:
    from anomaly_app.multivariate import category_code

    return category_code(str(value))


def _milliseconds(value: Any) -> float:
    from anomaly_app.conversions import text_to_timestamp

    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return aware.timestamp() * 1_000
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            return text_to_timestamp(value.strip(), 3)
        except DataError:
            try:
                value = _number(value)
            except DataError:
                raise DataError(f"{value!r} is no time; it should be like '2026-01-31 09:00:00'") from None
    if value is None:
        raise DataError("there is no time")
    number = _number(value)
    size = abs(number)
    return number * (1_000 if size < _SECONDS_BELOW else 1 if size < _MILLISECONDS_BELOW else 0.001)


def _is_text(table: FileTable, place: int) -> bool:
    """Whether a column holds texts, apart from a number here and there."""
    if table.type_of(table.names[place]) not in ("STRING", "BOOLEAN"):
        return False
    present = [row[place] for row in table.rows if row[place] is not None]
    return sum(_is_number(value) for value in present) * 2 < len(present)


def _is_number(value: Any) -> bool:
    try:
        _number(value)
    except DataError:
        return False
    return True


def _time_place(table: FileTable, path: Path) -> int:
    from anomaly_app.cli.inference import mostly_times

    found = [place for place, (_, type_) in enumerate(table.columns) if type_.startswith("TIMESTAMP")]
    if not found:
        # A few values that are no times cost their rows, and not the column its kind.
        texts = [place for place, (_, type_) in enumerate(table.columns) if type_ == "STRING"]
        found = [place for place in texts if mostly_times(table.values(table.names[place]))]
    if len(found) != 1:
        what = f"{len(found)} TIMESTAMP columns" if found else "no TIMESTAMP column"
        have = ", ".join(name for name, _ in table.columns)
        raise DataError(f"{path} has {what}: say with --time which column holds the times; it has {have}")
    return found[0]


def _place(names: Sequence[str], wanted: str, path: Path) -> int:
    if wanted in names:
        return names.index(wanted)
    folded = [name.lower() for name in names]
    if folded.count(wanted.lower()) == 1:
        return folded.index(wanted.lower())
    near = difflib.get_close_matches(wanted.lower(), folded, 1)
    hint = f"; did you mean {names[folded.index(near[0])]!r}?" if near else f"; it has {', '.join(names)}"
    raise DataError(f"{path} has no column {wanted!r}{hint}")
