"""Patterns and rules in words; the fixtures hold what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.binder import bind_text
from anomaly_app.patterns.describe import describe_clause, describe_pattern, notes
from anomaly_app.patterns.explain import Explanation, explain_rule
from anomaly_app.patterns.rule import Rule
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type
from anomaly_app.sql.row_pattern_parser import parse_pattern

FIXTURES = Path(__file__).parent / "fixtures"
COLUMNS = [("k", "STRING"), ("g", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
EVENTS = Schema(tuple(Column(name, parse_type(type_)) for name, type_ in COLUMNS), rowtime="ts")


def blocks(name: str) -> list[str]:
    return (FIXTURES / name).read_text("utf-8").strip().split("\n\n")


def bind(clause: str, dialect: str = "flink") -> Rule:
    bound = bind_text(f"SELECT * FROM events MATCH_RECOGNIZE ({clause})", {"events": EVENTS}, dialect)
    assert bound.factory.rule is not None
    return bound.factory.rule


def explained(clause: str, dialect: str = "flink") -> Explanation:
    from anomaly_app.operators import Layout

    return explain_rule(bind(clause, dialect), Layout(EVENTS.columns))


@pytest.mark.parametrize("block", blocks("pattern_words.txt"), ids=lambda block: block.partition("\n")[0])
def test_pattern_in_words(block):
    head, *steps = block.splitlines()
    dialect, _, pattern = head.partition(": ")
    assert describe_pattern(parse_pattern(pattern), None, Dialect(dialect)) == [step.strip() for step in steps]


@pytest.mark.parametrize("block", blocks("rule_words.txt"), ids=lambda block: block.splitlines()[1][:60])
def test_rule_in_words(block):
    question, _, expected = block.partition("\n=>\n")
    dialect, _, clause = question.partition("\n")
    rule = bind(clause, dialect)
    words = describe_clause(rule.checked, rule.definitions, [column.name for column in rule.output])
    assert [*words, *(f"note: {note}" for note in notes(rule.checked))] == expected.splitlines()


ONE = "PARTITION BY k ORDER BY ts MEASURES B.v AS v AFTER MATCH SKIP PAST LAST ROW"


def test_one_way_to_go_on_is_a_single_run_with_its_source():
    explanation = explained(f"{ONE} PATTERN (A+? B) WITHIN INTERVAL '5' SECOND DEFINE B AS B.v > SUM(A.v)")
    assert explanation.strategy == "single run"
    assert "def advance(" in explanation.source["advance"]
    assert "def measure(" in explanation.source["measure"]
    assert explanation.state.startswith("the source is the log: after a crash the last 5 seconds before")
    assert not explanation.path_independent
    assert [condition.path_independent for condition in explanation.conditions] == [True, False]


def test_several_ways_are_named():
    explanation = explained(f"{ONE} PATTERN (A (B | C)+? D) DEFINE B AS B.v > FIRST(A.v), C AS PREV(C.v, 2) < 5")
    assert explanation.strategy == "threads"
    assert explanation.why == "after A a row may open several ways (B, C), which are followed together"
    assert "def take_1(" in explanation.source["take"]
    assert explanation.look_back == 2
    assert explanation.state.startswith("rows are stored")


def test_conditions_on_a_row_and_its_neighbours_do_not_depend_on_the_path():
    assert explained(f"{ONE} PATTERN (A B) DEFINE B AS B.v > 1 AND PREV(v) < 5").path_independent


def test_measures_are_told_with_type_and_text():
    assert explained(f"{ONE} PATTERN (A B)").output == [("k", "STRING", ""), ("v", "INT", "B.v")]


def test_the_program_tells_guards_and_ends():
    start, *places = explained(f"{ONE} PATTERN (A+ B) DEFINE A AS A.v > 1").program
    assert (start.state, start.variable, start.accepts) == ("0", "", "no")
    assert {(place.variable, place.accepts) for place in places} == {("A", "no"), ("B", "yes")}
    assert any("(B and not A)" in way for place in places for way in place.next)


def test_an_anchored_program_has_two_starts_and_keeps_keys():
    explanation = explained(f"{ONE} PATTERN (^ A B $)", "standard")
    assert [place.state for place in explanation.program[:2]] == ["0", "0 at the first row"]
    assert explanation.program[0].next == ()
    assert "at the end" in {place.accepts for place in explanation.program}
    assert "each key is kept for ever" in explanation.state


@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("A B", False),
        ("A (B C | C B)", False),
        ("A B+ C", False),
        ("PERMUTE(B, A)", True),
        ("A B? C", True),
        ("A (B | C)", True),
        ("B A", True),
    ],
)
def test_a_skip_target_that_may_fail_is_noted(pattern, warned):
    rule = bind(f"ORDER BY ts MEASURES A.v AS v AFTER MATCH SKIP TO B PATTERN ({pattern})", "standard")
    assert any("a problem is reported" in note for note in notes(rule.checked)) is warned
