"""What the golden tests share: where cases lie, values as the cases write them, comparing, and the report.

The cases lie beside the repository, in ``../shared/golden`` (or where GOLDEN_CASES says), with a README that defines
their fields and how to compare.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
GOLDEN = Path(os.environ.get("GOLDEN_CASES", TESTS.parents[1] / "shared" / "golden"))

Case = dict[str, Any]


def load(*names: str) -> list[Case]:
    """Cases of some files, each with the name of its file; none where there are no files."""
    cases = []
    for name in names:
        path = GOLDEN / f"{name}.jsonl"
        if path.exists():
            cases += [{**json.loads(line), "file": name} for line in path.read_text().splitlines()]
    return cases


def known_failures(name: str) -> dict[str, str]:
    """Name and reason of the cases that are not right yet, from a file beside the tests."""
    lines = (TESTS / "golden" / name).read_text().splitlines()
    pairs = [line.partition(" # ") for line in lines if line and not line.startswith("#")]
    return {case.strip(): reason for case, _, reason in pairs}


def given(value: Any, type_: str) -> Any:
    """A value of a table, as ``query`` takes it."""
    if value is None:
        return None
    if type_.startswith(("BYTES", "BINARY", "VARBINARY")):
        return bytes.fromhex(value[2:-1])
    if type_.startswith(("FLOAT", "DOUBLE")):
        return float(value)
    if type_.startswith("DECIMAL"):
        return Decimal(value)
    if type_.startswith("MAP"):
        return dict(value)
    return value


def plain(value: Any, type_: str = "") -> Any:
    """A value of a result as the cases write it."""
    if isinstance(value, datetime.datetime):
        digits = 9 if "(9)" in type_ else 6 if any(f"({n})" in type_ for n in (4, 5, 6)) else 3
        text = value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond:06d}"
        text = text.rjust(26, "0")
        return text + "000" if digits == 9 else text[: 20 + digits]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.strftime("%H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    if isinstance(value, datetime.timedelta):
        return round(value.total_seconds() * 1000)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return f"x'{value.hex().upper()}'"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return [[plain(k), plain(v)] for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def number(value: Any) -> bool:
    """Whether a value compares as a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any, type_: str = "") -> bool:
    """Whether two values count as one."""
    if number(a) and number(b):
        return a == b or math.isclose(a, b, rel_tol=1e-9)
    if isinstance(a, list) and isinstance(b, list):
        if type_.startswith("MAP"):
            a, b = sorted(a, key=json.dumps), sorted(b, key=json.dumps)
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def rounded(row: Any, types: Sequence[str] = ()) -> str:
    """A row as a text that is equal for equal rows, but for the last digits of doubles."""

    def one(value: Any, type_: str) -> Any:
        if number(value):
            return float(f"{value:.9e}")
        if isinstance(value, dict):
            value = [[k, v] for k, v in value.items()]
        if isinstance(value, list):
            items = [one(item, "") for item in value]
            return sorted(items, key=json.dumps) if type_.startswith(("MAP", "MULTISET")) else items
        return value

    return json.dumps([one(value, type_) for value, type_ in zip(row, types or [""] * len(row), strict=True)])


def unequal_rows(expected: Iterable[Any], got: Iterable[Any], types: Sequence[str] = ()) -> list[str]:
    """How two multisets of rows differ; empty if they do not."""
    missing = Counter(rounded(row, types) for row in expected)
    missing.subtract(Counter(rounded(row, types) for row in got))
    return [f"{'missing' if count > 0 else 'unexpected'}: {row}" for row, count in missing.items() if count]


def one_name(type_: str) -> str:
    """Types that count as one, under one name."""
    type_ = re.sub(r" NOT NULL| \*(ROW|PROC)TIME\*", "", type_)
    type_ = re.sub(r"\b(VAR)?CHAR\(\d+\)", "STRING", type_)
    return re.sub(r"\b(VAR)?BINARY\(\d+\)", "BYTES", type_)


Judge = Callable[[Case], tuple[str, str]]
"""From a case to ``equal``, ``refused`` or ``wrong``, and what is wrong."""


def report(cases: Iterable[Case], judge: Judge, show: Callable[[Case], str]) -> None:
    """Print what is not equal, and counts by group and verdict; groups may be named on the command line.

    Args:
        cases: all.
        judge: what comes of one; an exception is a ``crash``.
        show: what a case asks, in a line.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for case in cases:
        if len(sys.argv) > 1 and case["group"] not in sys.argv[1:]:
            continue
        try:
            verdict, problem = judge(case)
        except Exception as error:
            verdict, problem = "crash", repr(error)
        counts[case["group"], verdict] += 1
        if verdict != "equal":
            print(f"{verdict:8} {case['name']} {show(case)}\n         {problem}")
    for (group, verdict), count in sorted(counts.items()):
        print(f"{group:14} {verdict:8} {count}")
    for verdict in sorted({verdict for _, verdict in counts}):
        print(f"{'all':14} {verdict:8} {sum(count for (_, of), count in counts.items() if of == verdict)}")
