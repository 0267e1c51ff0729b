"""Scalar functions, operators and casts: the values of a real Flink 2.3 (``../shared/golden/FUNCTIONS.md``)."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, query

sys.path.append(str(Path(__file__).parents[1] / "support"))  # where this is run as a script

from golden_cases import GOLDEN, equal, given, known_failures, load, number, one_name, plain, report

CASES = load("functions")
TABLES = json.loads((GOLDEN / "functions_tables.json").read_text()) if CASES else {}
KNOWN = known_failures("known_failures_functions.txt")


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
    verdict, problem = judge(case)
    assert verdict != "wrong" or case["name"] in KNOWN, f"{case['expr']} over {case['table']}\n{problem}"
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


if __name__ == "__main__":  # python tests/golden/test_functions.py [group …]
    report(COMPARED, judge, lambda case: f"[{case['table']}] {case['expr']}")
