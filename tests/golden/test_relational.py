"""Relational queries: the rows of a real Flink 2.3 (``../shared/golden/RELATIONAL.md``).

``python tests/golden/test_relational.py [group …]`` prints what is not equal, and counts by group.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, SqlError, query

sys.path.append(str(Path(__file__).parents[1] / "support"))  # where this is run as a script

from golden_cases import GOLDEN, Case, given, known_failures, load, plain, report, unequal_rows

CASES = load("relational_cases", "relational_fuzz")
KNOWN = known_failures("known_failures_relational.txt")
COMPARED = [case for case in CASES if case["mirror"] == "exact"]
GROUPS = sorted({case["group"] for case in COMPARED})


_MARK = re.compile(r" \*(ROW|PROC)TIME\*")
"""Flink prints it also for values that are no time attribute: RELATIONAL.md."""


def asked(case: Case) -> tuple[str, dict[str, Rows]]:
    """The text and the tables of a case, as ``query`` takes them."""
    tables: dict[str, Rows] = {}
    for table in case["tables"]:
        changelog, rows, kinds = table.get("changelog", "append"), table["rows"], []
        if changelog != "append":
            kinds, rows = [kind for kind, _ in rows], [row for _, row in rows]
        types = [type_ for _, type_ in table["columns"]]
        tables[table["name"]] = Rows(
            columns=[tuple(column) for column in table["columns"]],
            rows=[tuple(map(given, row, types)) for row in rows],
            changelog=changelog,
            kinds=kinds,
        )
    # The DDL says the rest: watermark, computed columns, keys.
    return ";\n".join([*(table["ddl"] for table in case["tables"]), *case.get("setup", ()), case["sql"]]), tables


def judge(case: Case) -> tuple[str, str]:
    """``equal``, ``refused`` or ``wrong``, and what is wrong. Anything but an AnomalyError passes through: a crash."""
    wanted = case.get("error")
    try:
        result = query(*asked(case))
    except AnomalyError as error:
        if wanted is None:
            return "refused", str(error)
        if wanted in ("SYNTAX", "VALIDATION") and not isinstance(error, SqlError):
            return "wrong", f"failed on the data, but should be refused before ({wanted}): {error}"
        return "equal", str(error)
    types = [type_ for _, type_ in result.columns]
    got = [[plain(value, type_) for value, type_ in zip(row, types, strict=True)] for row in result.rows]
    if wanted is not None:
        return "wrong", f"should fail with {wanted} ({case.get('engine_message', '')}), but gave {got}"
    expected = [(name, _MARK.sub("", type_)) for name, type_ in case["columns"]]
    problems = []
    if result.columns != expected:
        problems.append(f"columns {result.columns}, expected {expected}")
    problems += unequal_rows(case["expect"], got, [type_ for _, type_ in expected])
    return ("wrong", "\n".join(problems)) if problems else ("equal", "")


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["name"])
def test_rows_of_flink(case: Case) -> None:
    """What is answered is right; what cannot be answered is refused."""
    verdict, problem = judge(case)
    if case["name"] in KNOWN:
        assert verdict == "wrong", f"{case['name']} is {verdict} now: take it off known_failures_relational.txt"
        pytest.xfail(KNOWN[case["name"]])
    assert verdict != "wrong", f"{case['name']}\n{case['sql']}\n{problem}"


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [c for c in CASES if c["mirror"] != "exact"], ids=lambda case: case["name"])
def test_others_are_answered_or_refused(case: Case) -> None:
    """Nothing says what the answer must be, but a query never breaks the engine."""
    assert judge(case)[0]


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("group", GROUPS)
def test_refusals_are_counted(group: str, record_property: Any) -> None:
    """How far we are, by group: shown with ``-rP``, and in the report of a script."""
    verdicts = Counter(judge(case)[0] for case in COMPARED if case["group"] == group)
    record_property("verdicts", dict(verdicts))
    print(f"{group}: {', '.join(f'{count} {verdict}' for verdict, count in sorted(verdicts.items()))}")
    assert verdicts["equal"] >= LEAST_EQUAL.get(group, 0), "what was answered is refused now"


LEAST_EQUAL = {
    "aggregate": 55,
    "composition": 105,
    "errors": 36,
    "filter": 6,
    "interval_join": 53,
    "match": 19,
    "nested": 24,
    "over": 44,
    "rank": 41,
    "regular_join": 55,
    "select": 39,
    "semi_join": 20,
    "temporal_join": 34,
    "time": 20,
    "union": 10,
    "window": 80,
    "window_join": 7,
}
"""Cases of a group that are right today: raised with every step, never lowered."""


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
def test_known_failures_exist() -> None:
    assert set(KNOWN) <= {case["name"] for case in COMPARED}


if __name__ == "__main__":
    report(COMPARED, judge, lambda case: case["sql"])
