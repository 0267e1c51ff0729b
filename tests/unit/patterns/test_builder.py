"""Patterns written in Python are the same trees as those written in SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from anomaly_app import Pattern, Rows, SqlSyntaxError, SqlValidationError, query
from anomaly_app.sql import parse_statements

SALES = Rows(
    columns=[("user_id", "STRING"), ("qty", "INT"), ("ts", "TIMESTAMP(3)")],
    rows=[
        ("ann", 2, "2026-01-01 09:00:00.000"),
        ("ann", 1, "2026-01-01 09:00:02.000"),
        ("ann", 12, "2026-01-01 09:00:04.000"),
    ],
    rowtime="ts",
)
UNUSUAL = (
    Pattern.begin("A", at_least=1, reluctant=True)
    .then("B")
    .where("B.qty > 3 * AVG(A.qty)")
    .within(seconds=10)
    .partition_by("user_id")
    .order_by("ts")
    .measure(qty="B.qty", average="AVG(A.qty)", at="B.ts")
    .skip_past_last_row()
)


def without_places(tree: object) -> str:
    """A tree as text without the places of its nodes."""
    import re

    return re.sub(r"(within_)?span=Span\([^)]*\)", "", repr(tree))


def test_a_pattern_runs():
    assert query(UNUSUAL, {"sales": SALES}).rows == [("ann", 12, 1, datetime(2026, 1, 1, 9, 0, 4))]


def test_it_is_the_tree_of_the_same_sql():
    written = (
        "SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts MEASURES B.qty AS qty, "
        "AVG(A.qty) AS average, B.ts AS at ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW "
        "PATTERN (A+? B) WITHIN INTERVAL '10' SECOND DEFINE B AS B.qty > 3 * AVG(A.qty))"
    )
    ((built,), (parsed,)) = (parse_statements(text) for text in (UNUSUAL.sql("sales"), written))
    assert without_places(replace(built, text="")) == without_places(replace(parsed, text=""))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (Pattern.begin("A", times=3).then("B"), "PATTERN (A{3} B)"),
        (Pattern.begin("A", at_least=0).then("B"), "PATTERN (A* B)"),
        (Pattern.begin("A", at_least=1).then("B", at_most=1), "PATTERN (A+ B?)"),
        (Pattern.begin("A", at_least=2).then("B", at_most=3), "PATTERN (A{2,} B{0,3})"),
        (Pattern.begin("A", at_least=2, at_most=4, reluctant=True), "PATTERN (A{2,4}?)"),
        (Pattern.either("A", Pattern.begin("B").then("C")).then("D"), "PATTERN ((A | B C) D)"),
        (Pattern.any_order("A", "B").then("C"), "PATTERN (PERMUTE(A, B) C)"),
        (Pattern.begin(Pattern.begin("A").then("B"), at_least=1).then("C"), "PATTERN ((A B)+ C)"),
        (Pattern.begin("A").within(hours=1), "PATTERN (A) WITHIN INTERVAL '3600' SECOND(9)"),
        (Pattern.begin("A").within(minutes=1, seconds=0.5), "PATTERN (A) WITHIN INTERVAL '60.5' SECOND"),
        (Pattern.begin("A").subset(U=("A", "B")), "SUBSET U = (A, B)"),
        (Pattern.begin("A").skip_to_next_row(), "AFTER MATCH SKIP TO NEXT ROW"),
        (Pattern.begin("A").skip_to("A"), "AFTER MATCH SKIP TO LAST A"),
        (Pattern.begin("A").skip_to("A", first=True), "AFTER MATCH SKIP TO FIRST A"),
        (Pattern.begin("A").all_rows(), "ALL ROWS PER MATCH SHOW EMPTY MATCHES"),
        (Pattern.begin("A").all_rows(empty_matches=False), "ALL ROWS PER MATCH OMIT EMPTY MATCHES"),
        (Pattern.begin("A").all_rows(unmatched_rows=True), "ALL ROWS PER MATCH WITH UNMATCHED ROWS"),
    ],
)
def test_text(pattern, text):
    sql = pattern.sql("t")
    assert text in [line.strip() for line in sql.splitlines()]
    parse_statements(sql)


def test_conditions_of_groups_come_along_and_several_must_all_hold():
    group = Pattern.begin("A").where("A.qty > 1 OR A.qty < -1").then("B").where("B.qty = 2 -- two")
    pattern = Pattern.begin("A").where("A.qty < 9").then(group, times=2)
    assert "A AS (A.qty < 9) AND (A.qty > 1 OR A.qty < -1),\n    B AS B.qty = 2\n" in pattern.sql("t")


def test_a_pattern_can_be_gone_on_with_in_two_ways():
    begun = Pattern.begin("A").order_by("ts").measure(q="A.qty")
    assert "DEFINE" not in begun.sql("t")
    assert "DEFINE" in begun.where("A.qty > 1").sql("t")
    assert "DEFINE" not in begun.sql("t")


def test_an_error_of_syntax_points_into_the_expression():
    with pytest.raises(SqlSyntaxError) as caught:
        Pattern.begin("A").where("A.qty > > 3")
    assert str(caught.value).splitlines()[1:] == ["  A.qty > > 3", "          ^"]


def test_an_error_of_meaning_points_into_the_expression():
    with pytest.raises(SqlValidationError) as caught:
        query(UNUSUAL.measure(cost="B.prize"), {"sales": SALES})
    assert "unknown column 'prize'" in str(caught.value)
    assert str(caught.value).splitlines()[1:] == ["      B.prize AS cost", "      ^^^^^^^"]


@pytest.mark.parametrize("text", ["A B", "A+", "", "1", "A) DEFINE"])
def test_a_step_is_one_variable(text):
    with pytest.raises(SqlSyntaxError, match="expected the name of a pattern variable"):
        Pattern.begin(text)


def test_where_needs_a_variable():
    with pytest.raises(SqlValidationError, match="about one variable"):
        Pattern.either("A", "B").where("A.x > 1")


def test_times_stands_alone():
    with pytest.raises(SqlSyntaxError, match="times goes neither"):
        Pattern.begin("A", times=2, at_most=3)


def test_a_pattern_needs_one_table():
    with pytest.raises(SqlValidationError, match="one table, but 0 are given"):
        query(UNUSUAL)


def test_what_is_beyond_the_standard():
    begun = Pattern.begin("A").where("A.qty = 2").order_by("ts").measure(late="MATCH_TIMED_OUT()", qty="A.qty")
    late = (
        begun.then("C", at_least=0, reluctant=True).then("B").where("B.qty > 20").within(seconds=5, show_timeouts=True)
    )
    assert query(late, {"sales": SALES}).rows == [(True, 2)]
    never = Pattern.begin("A").where("A.qty < 9").never("B").where("B.qty > 9").within(seconds=3).order_by("ts")
    assert query(never.measure(qty="A.qty"), {"sales": SALES}).rows == [(2,)]
    ways = Pattern.begin("A", at_least=1).then("B").where("B.qty > 9").order_by("ts").measure(n="COUNT(*)").no_skip()
    assert query(ways, {"sales": SALES}, dialect="standard").rows == [(3,), (2,)]
