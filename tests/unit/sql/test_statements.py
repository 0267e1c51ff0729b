"""Statements and the row pattern clause as trees."""

from __future__ import annotations

import pytest

from anomaly_app import SqlError
from anomaly_app.sql import parse_statements, parse_type
from anomaly_app.sql.row_pattern import Alternation, Concat, Exclusion, Permute, Quantified, RowsPerMatch, SkipTo
from anomaly_app.sql.row_pattern_parser import parse_pattern


@pytest.mark.parametrize(
    ("text", "minimum", "maximum", "reluctant"),
    [
        ("A*", 0, None, False),
        ("A+?", 1, None, True),
        ("A?", 0, 1, False),
        ("A??", 0, 1, True),
        ("A{2}", 2, 2, False),
        ("A{2,}", 2, None, False),
        ("A{,3}?", 0, 3, True),
        ("A {1,3}", 1, 3, False),
    ],
)
def test_quantifiers(text, minimum, maximum, reluctant):
    node = parse_pattern(text)
    assert isinstance(node, Quantified)
    assert (node.minimum, node.maximum, node.reluctant) == (minimum, maximum, reluctant)


def test_pattern_operators_bind_as_in_regular_expressions():
    node = parse_pattern("A B | C+ (D | E)")
    assert isinstance(node, Alternation)
    first, second = node.parts
    assert isinstance(first, Concat) and isinstance(second, Concat)
    assert isinstance(second.parts[0], Quantified) and isinstance(second.parts[1], Alternation)
    assert isinstance(parse_pattern("PERMUTE(A, B)"), Permute)
    assert isinstance(parse_pattern("{- A -}"), Exclusion)


def test_the_whole_clause():
    (select,) = parse_statements(
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY a, b ORDER BY ts, c DESC NULLS LAST MEASURES A.x AS x "
        "ALL ROWS PER MATCH OMIT EMPTY MATCHES AFTER MATCH SKIP TO FIRST S PATTERN (A B) WITHIN INTERVAL '1' MINUTE "
        "SUBSET S = (A, B) DEFINE A AS A.x > 1, B AS TRUE) AS m"
    )
    clause = select.match
    assert len(clause.partition_by) == 2
    assert [(item.descending, item.nulls_first) for item in clause.order_by] == [(False, None), (True, False)]
    assert clause.rows_per_match is RowsPerMatch.ALL_OMIT_EMPTY
    assert (clause.skip.to, clause.skip.variable) == (SkipTo.FIRST, "S")
    assert clause.within_ms == 60_000
    assert [definition.name for definition in clause.define] == ["A", "B"]
    assert clause.alias == "m"


def test_create_table():
    (create,) = parse_statements(
        "CREATE TABLE IF NOT EXISTS `db`.t (a INT NOT NULL, `when` TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL, "
        "p AS PROCTIME(), WATERMARK FOR `when` AS `when` - INTERVAL '5' SECOND, PRIMARY KEY (a) NOT ENFORCED) "
        "WITH ('connector' = 'kafka', 'topic' = 'it''s')"
    )
    assert create.path == ("db", "t") and create.if_not_exists
    assert [(column.name, column.metadata, column.virtual) for column in create.columns] == [
        ("a", None, False),
        ("when", "timestamp", True),
        ("p", None, True),
    ]
    assert create.watermark.column == "when" and create.primary_key == ("a",)
    assert [(option.key, option.value) for option in create.options] == [("connector", "kafka"), ("topic", "it's")]


@pytest.mark.parametrize(
    "text",
    ["INT NOT NULL", "DECIMAL(10, 2)", "TIMESTAMP_LTZ(3)", "ARRAY<INT>", "MAP<STRING, BIGINT>", "VARCHAR(5)"],
)
def test_types_print_as_they_are_written(text):
    assert str(parse_type(text)) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [("INTEGER", "INT"), ("ROW<a INT, b STRING>", "ROW<`a` INT, `b` STRING>"), ("DEC(4)", "DECIMAL(4, 0)")],
)
def test_other_names_of_types(text, same):
    assert str(parse_type(text)) == same


@pytest.mark.parametrize(
    "text", ["SELECT", "SELECT * FROM t WHERE", "CREATE TABLE t (", "SELECT a b c FROM t", "(", "'"]
)
def test_broken_texts_raise_sql_errors(text):
    with pytest.raises(SqlError):
        parse_statements(text)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(SqlError):
        parse_statements("SELECT " + "(" * 5_000 + "1" + ")" * 5_000 + " FROM t")
