"""Recorded answers of other engines (Apache Flink 2.3, Trino 435) and of SQL:2016: the same queries, the same rows.

The cases lie beside the repository, in ``../shared/golden`` (or where GOLDEN_CASES says), with a README that
defines their fields and how to compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from golden_cases import GOLDEN, equal, known_failures, load, plain, unequal_rows

from anomaly_app import AnomalyError, Result, Rows, SqlError, query
from anomaly_app.patterns import strategies
from anomaly_app.patterns.compiled import CompiledRule

FILES = ("flink_cases", "flink_fuzz", "sql2016_cases", "sql2016_fuzz")

CASES = load(*FILES)
KNOWN = known_failures("known_failures.txt")


def compared(case: dict[str, Any]) -> bool:
    answered = case["mirror"] == "superset" and "standard_expect" in case
    return answered or case["mirror"] in ("exact", "tie", "standard")


def run(case: dict[str, Any]) -> Result:
    table = case["table"]
    rows = Rows(
        columns=[tuple(column) for column in table["columns"]],
        rows=case["rows"],
        rowtime=table.get("rowtime"),
        watermark_delay_ms=table.get("watermark_delay_ms", 0),
        proctime=table.get("proctime"),
    )
    return query(case["sql"], {table["name"]: rows}, dialect=case["dialect"])


def by_partition(rows: list[list[Any]], key: list[int]) -> dict[str, list[list[Any]]]:
    partitions: dict[str, list[list[Any]]] = {}
    for row in rows:
        partitions.setdefault(json.dumps([row[column] for column in key]), []).append(row)
    return partitions


def check_weak(weak: dict[str, Any], got: list[list[Any]], expected: list[list[Any]]) -> bool:
    if weak["check"] == "none":
        return True
    if weak["check"] == "one_of":
        entries = weak["rows"]
        if len(entries) != len(got):
            return False
        return all(any(equal(row, option) for option in entry) for row, entry in zip(got, entries, strict=True))
    assert weak["check"] == "columns"
    if len(got) != weak["rows"] or len(got) != len(expected):
        return False
    columns = weak["columns"]
    return all(
        equal([a[column] for column in columns], [b[column] for column in columns])
        for a, b in zip(got, expected, strict=True)
    )


def differences(case: dict[str, Any], got: list[list[Any]]) -> list[str]:
    """What is wrong with the rows; empty if nothing is."""
    expected = case["standard_expect"] if case["mirror"] == "superset" else case["expect"]
    if case["key"] is None:
        return unequal_rows(expected, got)
    loosely = case.get("weak") or [] if case["mirror"] == "tie" else []
    weak = {json.dumps(entry["partition"]): entry for entry in loosely}
    ours, theirs = by_partition(got, case["key"]), by_partition(expected, case["key"])
    report = []
    for partition in {**theirs, **ours, **weak}:
        a, b = ours.get(partition, []), theirs.get(partition, [])
        if partition in weak:
            if not check_weak(weak[partition], a, b):
                report.append(f"partition {partition}: got {a}, which {weak[partition]} does not allow")
        elif not (len(a) == len(b) and all(map(equal, a, b))):
            report.append(f"partition {partition}:\n  expected {b}\n  got      {a}")
    return report


def wrong_types(case: dict[str, Any], result: Result) -> list[str]:
    """Where names or types of columns differ from Flink's."""
    if case["dialect"] != "flink" or case["mirror"] not in ("exact", "tie"):
        return []
    expected = [(name, type_.replace(" *ROWTIME*", "").replace(" *PROCTIME*", "")) for name, type_ in case["columns"]]
    return [] if result.columns == expected else [f"columns {result.columns}, expected {expected}"]


def judge(case: dict[str, Any]) -> str:
    """What is wrong with our answer to a case; "" if nothing is."""
    wanted = case.get("error") if case["mirror"] != "superset" else None
    try:
        result = run(case)
    except AnomalyError as error:
        if wanted is None:
            return f"refused or failed: {error}"
        if wanted in ("SYNTAX", "VALIDATION") and not isinstance(error, SqlError):
            return f"failed on the data, but should be refused before ({wanted}): {error}"
        return ""
    got = [[plain(value) for value in row] for row in result.rows]
    if wanted is not None:
        return f"should fail with {wanted} ({case.get('engine_message', '')}), but gave {got}"
    return "\n".join([*wrong_types(case, result), *differences(case, got)])


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [case for case in CASES if compared(case)], ids=lambda case: case["name"])
def test_same_rows(case: dict[str, Any]) -> None:
    wrong = judge(case)
    if case["name"] in KNOWN:
        assert wrong, f"{case['name']} is right now: take it off known_failures.txt"
        pytest.xfail(KNOWN[case["name"]])
    assert not wrong, f"{case['file']} {case['name']} ({case['mirror']})\n{case['sql']}\n{wrong}"


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize(
    ("off", "files"),
    [
        (["fits", "has_no_labels"], ["flink_cases", "sql2016_cases"]),
        (["has_no_labels"], FILES),
    ],
)
def test_other_strategies_give_the_same(off: list[str], files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases whose pattern has a faster strategy, without it."""
    faster = 0

    def no(name: str, real: Callable[[CompiledRule], bool]) -> None:
        def fits(rule: CompiledRule) -> bool:
            nonlocal faster
            faster += real(rule)
            return False

        monkeypatch.setattr(strategies, name, fits)

    for name in off:
        no(name, getattr(strategies, name))
    cases = [case for case in CASES if case["file"] in files and compared(case) and case["name"] not in KNOWN]
    wrong = {case["name"]: report for case in cases if (report := judge(case))}
    assert not wrong
    assert faster > 100


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
@pytest.mark.parametrize("case", [case for case in CASES if not compared(case)], ids=lambda case: case["name"])
def test_others_are_answered_or_refused(case: dict[str, Any]) -> None:
    """Nothing says what the answer must be, but a query never breaks the engine."""
    try:
        run(case)
    except AnomalyError as error:
        assert str(error)


@pytest.mark.skipif(not CASES, reason=f"no golden cases in {GOLDEN}")
def test_known_failures_exist() -> None:
    assert set(KNOWN) <= {case["name"] for case in CASES}
