"""Tables that change: upserts and whole changelogs through filters, projections and UNION ALL."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlValidationError, query

USERS = "CREATE TABLE users (id STRING, tier INT, PRIMARY KEY (id) NOT ENFORCED);"
COLUMNS = [("id", "STRING"), ("tier", "INT")]


def users(*changes: tuple[str, tuple[object, ...]], changelog: str = "upsert") -> Rows:
    return Rows(COLUMNS, [row for _, row in changes], changelog=changelog, kinds=[kind for kind, _ in changes])


def test_an_upsert_takes_the_place_of_the_row_before() -> None:
    result = query(f"{USERS} SELECT * FROM users", {"users": users(("+U", ("a", 1)), ("+U", ("a", 2)))})
    assert result.changes == [("+I", ("a", 1)), ("-U", ("a", 1)), ("+U", ("a", 2))]
    assert result.rows == [("a", 2)]


def test_a_deletion_takes_the_last_row_whatever_it_says_itself() -> None:
    changes = users(("+I", ("a", 1)), ("-D", ("a", None)), ("-D", ("b", None)))
    result = query(f"{USERS} SELECT tier, id FROM users", {"users": changes})
    assert result.changes == [("+I", (1, "a")), ("-D", (1, "a"))]
    assert result.rows == []


def test_a_filter_lets_through_what_passed_it_before() -> None:
    changes = users(("+U", ("a", 1)), ("+U", ("a", 3)), ("+U", ("a", 0)))
    result = query(f"{USERS} SELECT id, tier * 10 AS t FROM users WHERE tier > 0", {"users": changes})
    assert result.changes == [("+I", ("a", 10)), ("-U", ("a", 10)), ("+U", ("a", 30)), ("-U", ("a", 30))]


def test_an_upsert_that_changes_nothing_gives_nothing() -> None:
    assert len(query(f"{USERS} SELECT * FROM users", {"users": users(("+U", ("a", 1)), ("+U", ("a", 1)))}).changes) == 1


def test_a_whole_changelog_passes_as_it_is() -> None:
    changes = users(("+I", ("a", 1)), ("-U", ("a", 1)), ("+U", ("a", 2)), ("-D", ("a", 2)), changelog="all")
    result = query(f"{USERS} SELECT * FROM users", {"users": changes})
    assert [kind for kind, _ in result.changes] == ["+I", "-U", "+U", "-D"]
    assert result.rows == []


def test_union_all_with_a_table_that_only_grows() -> None:
    tables = {"users": users(("+U", ("a", 1)), ("+U", ("a", 2))), "more": Rows(COLUMNS, [("b", 5)])}
    result = query(f"{USERS} SELECT * FROM users UNION ALL SELECT * FROM more", tables)
    assert sorted(result.rows) == [("a", 2), ("b", 5)]


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT id, COUNT(*) OVER (PARTITION BY id ORDER BY ts) AS n FROM users", "not taken back"),
        ("SELECT * FROM users MATCH_RECOGNIZE (ORDER BY ts PATTERN (A) DEFINE A AS TRUE)", "not taken back"),
    ],
)
def test_what_cannot_take_rows_back_says_which_table_does(sql: str, what: str) -> None:
    ddl = "CREATE TABLE users (id STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED);"
    rows = Rows([("id", "STRING"), ("ts", "TIMESTAMP(3)")], [], changelog="upsert")
    with pytest.raises(SqlValidationError, match=what) as caught:
        query(ddl + sql, {"users": rows})
    assert "table users" in str(caught.value)


def test_upserts_need_a_primary_key() -> None:
    with pytest.raises(SqlValidationError, match="PRIMARY KEY"):
        query("CREATE TABLE users (id STRING, tier INT); SELECT * FROM users", {"users": users(("+U", ("a", 1)))})


def test_rows_of_another_table_are_insertions() -> None:
    assert query("SELECT a FROM t", {"t": Rows([("a", "INT")], [(1,)])}).changes == [("+I", (1,))]
