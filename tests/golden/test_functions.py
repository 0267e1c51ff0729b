"""Scalar functions, operators and casts: the values of a real Flink 2.3 (``../shared/golden/FUNCTIONS.md``)."""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, query

HERE = Path(__file__).parent
GOLDEN = Path(os.environ.get("GOLDEN_CASES", HERE.parents[2] / "shared" / "golden"))


def load() -> list[dict[str, Any]]:
    path = GOLDEN / "functions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


CASES = load()
TABLES = json.loads((GOLDEN / "functions_tables.json").read_text()) if CASES else {}


def known_failures() -> dict[str, str]:
    lines = (HERE / "known_failures_functions.txt").read_text().splitlines()
    pairs = [line.partition(" # ") for line in lines if line and not line.startswith("#")]
    return {name.strip(): reason for name, _, reason in pairs}


KNOWN = known_failures()


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


def plain(value: Any, type_: str) -> Any:
    """A value as the cases write it."""
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
        return [[plain(k, ""), plain(v, "")] for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(item, "") for item in value]
    return value


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(a: Any, b: Any, type_: str) -> bool:
    if number(a) and number(b):
        return a == b or math.isclose(a, b, rel_tol=1e-9)
    if isinstance(a, list) and isinstance(b, list):
        if type_.startswith("MAP"):
            a, b = sorted(a, key=json.dumps), sorted(b, key=json.dumps)
        return len(a) == len(b) and all(equal(x, y, "") for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def one_name(type_: str) -> str:
    """Types that count as one, under one name."""
    type_ = type_.replace(" NOT NULL", "")
    type_ = re.sub(r"\b(VAR)?CHAR\(\d+\)", "STRING", type_)
    return re.sub(r"\b(VAR)?BINARY\(\d+\)", "BYTES", type_)


def whole(type_: str) -> tuple[int, int] | None:
    bits = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}.get(type_.removesuffix(" NOT NULL"))
    return None if bits is None else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def judge(case: dict[str, Any]) -> tuple[str, str]:
    """``equal``, ``refused`` or ``wrong``, and what is wrong. Anything but an AnomalyError passes through: a crash."""
    table = TABLES[case["table"]]
    columns = [tuple(column) for column in table["columns"]]
    rows = [tuple(given(v, t) for v, (_, t) in zip(row, columns, strict=True)) for row in table["rows"]]
    skipped = set(case.get("skip_rows", ()))
    sql = f"SELECT {case['expr']} AS x FROM t"
    fails = "error" in case
    try:
        if not fails and "expect" in case and (skipped or case["mirror"] == "wrap"):
            result_rows, name_type = [], None
            for place, row in enumerate(rows):
                if place in skipped:
                    result_rows.append(None)
                    continue
                try:
                    one = query(sql, {"t": Rows(columns=columns, rows=[row])})
                except AnomalyError as error:
                    if case["mirror"] == "wrap":
                        result_rows.append(error)
                        continue
                    raise
                name_type = one.columns[0][1]
                result_rows.append(one.rows[0][0])
        else:
            result = query(sql, {"t": Rows(columns=columns, rows=rows)})
            name_type, result_rows = result.columns[0][1], [row[0] for row in result.rows]
    except AnomalyError as error:
        return ("equal" if fails else "refused"), str(error)
    if fails:
        return "wrong", f"should fail: {case['error']} {case.get('engine_message', '')}, got {result_rows}"
    if name_type is not None and one_name(name_type) != one_name(case["type"]):
        return "wrong", f"type {name_type}, expected {case['type']}"
    if "expect" not in case:
        return "equal", ""
    bounds = whole(case["type"])
    for place, (got, want) in enumerate(zip(result_rows, case["expect"], strict=True)):
        if place in skipped or isinstance(got, AnomalyError):
            continue
        if case["mirror"] == "wrap" and got is None and "TRY_CAST" in case["expr"]:
            continue
        shown = plain(got, case["type"])
        if bounds and number(shown) and not bounds[0] <= shown <= bounds[1]:
            return "wrong", f"row {place}: {shown} is no {case['type']}"
        if not equal(shown, want, case["type"]):
            return "wrong", f"row {place} {rows[place]}: got {shown!r}, expected {want!r}"
    return "equal", ""


COMPARED = [case for case in CASES if case["mirror"] in ("exact", "wrap")]


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["name"])
def test_value_of_flink(case: dict[str, Any]) -> None:
    verdict, report = judge(case)
    assert verdict != "wrong" or case["name"] in KNOWN, f"{case['expr']} over {case['table']}\n{report}"
    if case["name"] in KNOWN:
        assert verdict != "equal", f"{case['name']} is right now: take it off known_failures_functions.txt"


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [c for c in CASES if c not in COMPARED], ids=lambda case: case["name"])
def test_others_are_answered_or_refused(case: dict[str, Any]) -> None:
    judge(case)


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
def test_most_are_answered() -> None:
    """Of what Flink answers, this share is equal; the rest is refused."""
    answered = [case for case in COMPARED if "error" not in case]
    verdicts = Counter(judge(case)[0] for case in answered)
    assert verdicts["equal"] >= 0.97 * len(answered), verdicts


def main() -> None:
    """Prints what is not equal: ``python tests/golden/test_functions.py [group …]``."""
    counts: Counter[tuple[str, str]] = Counter()
    for case in COMPARED:
        if len(sys.argv) > 1 and case["group"] not in sys.argv[1:]:
            continue
        try:
            verdict, report = judge(case)
        except Exception as error:
            verdict, report = "crash", repr(error)
        counts[case["group"], verdict] += 1
        if verdict != "equal":
            print(f"{verdict:8} {case['name']} [{case['table']}] {case['expr']}\n         {report}")
    for (group, verdict), count in sorted(counts.items()):
        print(f"{group:14} {verdict:8} {count}")


if __name__ == "__main__":
    main()
