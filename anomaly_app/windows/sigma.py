"""The sigma rule: the greatest value of a key in a window is far above the others (seed 3, and two better variants).

The rule is SQL: :meth:`SigmaRule.sql` writes it, ``query()`` runs it over rows in memory, and the same text runs in a
job file.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from anomaly_app.errors import DataError, OptionError

Variant: TypeAlias = Literal["sigma", "leave-one-out", "robust"]

ALERT = "ANOMALY DETECTED: User %s has transaction of %.2f "
"""Begins the alert text (S3-07)."""

SEVERITIES = ((3.0, "critical"), (2.0, "high"), (1.25, "medium"))
"""By how many times the threshold the value is, at least; below all of them it is low."""

MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation in terms of its median absolute deviation."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What makes a variant.

    Args:
        centre: aggregate that the threshold starts from.
        spread: aggregate whose multiple is added.
        words: of both in the alert text.
        deviations: the multiple, if it is not said.
        least: rows of a window, if it is not said.
    """

    centre: str
    spread: str
    words: tuple[str, str]
    deviations: float
    least: int


_LARGEST = "1.7976931348623157E308"
"""The largest finite DOUBLE. An infinite value is above every threshold, and no part of what it is made from."""

_FORMS: dict[str, _Form] = {
    # S3-06: sample deviation, 0 for a single row.
    "sigma": _Form("AVG({0})", "COALESCE(STDDEV_SAMP({0}), 0E0)", ("avg", "stddev"), 2.5, 3),
    "leave-one-out": _Form(
        "AVG_WITHOUT_MAX({0})", "STDDEV_WITHOUT_MAX({0})", ("avg of others", "stddev of others"), 4.0, 5
    ),
    "robust": _Form("MEDIAN({0})", f"{MAD_TO_SIGMA}E0 * MAD({{0}})", ("median", "scaled mad"), 5.0, 5),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is said for one key in place of the rule's own.

    Args:
        deviations: that the greatest value must be above the centre; None for the rule's.
        floor: that it must reach in any case; None for the rule's.
    """

    deviations: float | None = None
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class SigmaRule:
    """Alert if the greatest value of a window is above centre + deviations * spread, once per key and window.

    ``sigma`` is the rule of seed 3: mean and sample deviation of all values. It cannot fire in windows of less than
    nine rows, because the greatest of n values is at most (n - 1) / sqrt(n) sample deviations above their mean (R. E.
    Shiffler, The American Statistician 42, 1988), and two equal outliers hide each other up to far larger windows.
    ``leave-one-out`` takes mean and deviation of all values but the greatest; ``robust`` takes the median and the
    median absolute deviation, which outliers hardly move until they are half of the window.

    Args:
        value: name of the numeric column.
        by: names of the key columns.
        time: name of the table's time attribute, event time or processing time.
        size_ms: of the tumbling windows.
        variant: see above.
        deviations: above the centre; None for 2.5, 4 and 5.
        least: rows of a window at least; None for 3, 5 and 5.
        floor: that the greatest value must reach; None for none.
        thresholds: for single keys, by the value of the key; :func:`read_thresholds` reads them from a file.

    Raises:
        OptionError: an option is impossible.

    Example:
        >>> from anomaly_app import Rows, query
        >>> amounts = [100.0] * 9 + [5_000.0]
        >>> rows = [("user001", amount, f"2026-01-01 09:00:0{second}") for second, amount in enumerate(amounts)]
        >>> table = Rows([("userId", "STRING"), ("amount", "DOUBLE"), ("ts", "TIMESTAMP(3)")], rows, rowtime="ts")
        >>> (row,) = query(SigmaRule("amount", by="userId", time="ts"), {"transactions": table}).rows
        >>> row[-1]
        'ANOMALY DETECTED: User user001 has transaction of 5000.00 (avg: 590.00, stddev: 1549.52, \
threshold: 4463.79, count: 10)'
    """

    value: str
    by: str | Sequence[str]
    time: str
    size_ms: int = 300_000
    variant: Variant = "sigma"
    deviations: float | None = None
    least: int | None = None
    floor: float | None = None
    thresholds: Mapping[Any, Threshold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.variant not in _FORMS:
            raise OptionError("variant", f"variant is {self.variant!r}, expected one of {', '.join(_FORMS)}")
        if not self.keys:
            raise OptionError("by", "by is empty, expected the names of the key columns")
        if self.thresholds and len(self.keys) > 1:
            raise OptionError("thresholds", "thresholds of single keys need one key column")
        if self.size_ms <= 0:
            raise OptionError("size_ms", f"size_ms is {self.size_ms}, expected milliseconds above 0")
        if self.least is not None and self.least < 1:
            raise OptionError("least", f"least is {self.least}, expected rows from 1 on")

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the key columns."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    @property
    def text(self) -> str:
        """Pattern of the alert text, for PRINTF."""
        centre, spread = _FORMS[self.variant].words
        return f"{ALERT}({centre}: %.2f, {spread}: %.2f, threshold: %.2f, count: %d)"

    def sql(self, table: str) -> str:
        """The rule as a query.

        Where all values of a window are equal none stands out, even if their mean is rounded to just below them.

        Its columns are the keys, ``window_start``, ``window_end``, ``max_value``, ``centre``, ``spread``,
        ``threshold``, ``row_count``, ``score`` (the value as a multiple of the threshold), ``severity`` and ``alert``.

        Args:
            table: name of the table, dotted.
        """
        form = _FORMS[self.variant]
        keys = ", ".join(map(_quoted, self.keys))
        value = f"CAST({_quoted(self.value)} AS DOUBLE)"
        known = f"CASE WHEN {value} >= -{_LARGEST} THEN {value} END"
        finite = f"CASE WHEN ABS({value}) <= {_LARGEST} THEN {value} END"
        source = ".".join(map(_quoted, table.split(".")))
        deviations = form.deviations if self.deviations is None else self.deviations
        multiple = self._by_key({key: one.deviations for key, one in self.thresholds.items()}, deviations)
        floor = self._by_key({key: one.floor for key, one in self.thresholds.items()}, self.floor)
        conditions = [
            f"(max_value > threshold OR max_value > {_LARGEST})",
            f"row_count >= {form.least if self.least is None else self.least}",
        ]
        if floor:
            conditions.append(f"max_value >= {floor}")
        who = _quoted(self.keys[0]) if len(self.keys) == 1 else f"CONCAT_WS(', ', {', '.join(map(_text, self.keys))})"
        levels = " ".join(f"WHEN score >= {bound} THEN '{level}'" for bound, level in SEVERITIES)
        second = "SECOND(9)" if self.size_ms >= 100_000 else "SECOND"
        return f"""\
SELECT {keys}, window_start, window_end, max_value, centre, spread, threshold, row_count, score,
  CASE WHEN score IS NULL THEN 'medium' {levels} ELSE 'low' END AS severity,
  PRINTF('{self.text}',
    {who}, max_value, centre, spread, threshold, row_count) AS alert
FROM (
  SELECT {keys}, window_start, window_end, max_value, centre, spread, threshold, row_count,
    CASE WHEN threshold > 0 THEN max_value / threshold END AS score
  FROM (
    SELECT {keys}, window_start, window_end, max_value, centre, spread, row_count,
      centre + {multiple} * spread AS threshold
    FROM (
      SELECT {keys}, window_start, window_end,
        MAX({known}) AS max_value, {form.centre.format(finite)} AS centre, {form.spread.format(finite)} AS spread,
        COUNT({known}) AS row_count
      FROM TABLE(TUMBLE(TABLE {source}, DESCRIPTOR({_quoted(self.time)}), INTERVAL '{self.size_ms / 1_000}' {second}))
      GROUP BY {keys}, window_start, window_end
      HAVING MAX({known}) > MIN({known}))))
WHERE {" AND ".join(conditions)}"""

    def _by_key(self, of_keys: Mapping[Any, float | None], otherwise: float | None) -> str:
        """Source of a number that keys may have of their own; "" if there is none at all."""
        own = {key: number for key, number in of_keys.items() if number is not None}
        rest = "" if otherwise is None else _number(otherwise)
        if not own:
            return rest
        members = ", ".join(f"{_literal(key)}, {_number(number)}" for key, number in own.items())
        return f"COALESCE(MAP[{members}][{_quoted(self.keys[0])}], {rest or '-1E308'})"


def read_thresholds(path: str | Path) -> dict[str, Threshold]:
    """Thresholds of single keys from a CSV file with the columns key, deviations and floor.

    Args:
        path: of the file; its first line names the columns. One of the two numbers may be missing, or empty.

    Raises:
        DataError: the file cannot be read, or a line is wrong.
    """
    thresholds: dict[str, Threshold] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if "key" not in names or not {"deviations", "floor"} & set(names):
                raise DataError(f"{path}: expected the columns key, deviations and floor, found {', '.join(names)}")
            for line in reader:
                place = f"{path}, line {reader.line_num}"
                if line["key"] in thresholds:
                    raise DataError(f"{place}: the key {line['key']!r} is there twice")
                thresholds[line["key"]] = Threshold(
                    _optional(line.get("deviations"), place), _optional(line.get("floor"), place)
                )
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return thresholds


def _optional(text: str | None, place: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{place}: {text!r} is not a number") from None


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(name: str) -> str:
    return f"CAST({_quoted(name)} AS STRING)"


def _literal(key: Any) -> str:
    return str(key) if isinstance(key, int) else "'" + str(key).replace("'", "''") + "'"


def _number(number: float) -> str:
    """A DOUBLE, written so that its type is clear."""
    text = repr(float(number))
    return text.upper() if "e" in text else f"{text}E0"
