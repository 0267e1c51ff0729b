"""Parameters: ``SET 'name' = 'value'`` and ``${name}``."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from anomaly_app import Rows, query
from anomaly_app.errors import SqlError, SqlSyntaxError, SqlValidationError
from anomaly_app.expressions.tokens import tokenize
from anomaly_app.jobs.binder import bind_job
from anomaly_app.session import Session
from anomaly_app.sql.parameters import ParameterType, substitute

TABLE = (
    "CREATE TABLE t (k STRING, a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json',"
    " 'properties.bootstrap.servers' = 'localhost:9092');\n"
)
ROWS = {"t": Rows(columns=[("k", "STRING"), ("a", "INT")], rows=[("ann", 2), ("it's", 9)])}


@pytest.mark.parametrize(
    ("value", "type_", "literal"),
    [
        ("100", ParameterType.NUMBER, "100"),
        (" 1.5e3 ", ParameterType.NUMBER, "1.5e3"),
        ("-5", ParameterType.NUMBER, "-5"),
        ("true", ParameterType.BOOLEAN, "TRUE"),
        ("interval '10'  minute", ParameterType.INTERVAL, "INTERVAL '10' MINUTE"),
        ("INTERVAL '1 02' DAY TO HOUR", ParameterType.INTERVAL, "INTERVAL '1 02' DAY TO HOUR"),
        ("it's", ParameterType.TEXT, "'it''s'"),
        ("'100'", ParameterType.TEXT, "'100'"),
        ("", ParameterType.TEXT, "''"),
        ("a OR 1 = 1", ParameterType.TEXT, "'a OR 1 = 1'"),
        ("' OR ''a'' = 'a", ParameterType.TEXT, "''' OR ''''a'''' = ''a'"),
        ("INTERVAL '1' DAY) OR (TRUE", ParameterType.TEXT, "'INTERVAL ''1'' DAY) OR (TRUE'"),
        ("1 OR 1", ParameterType.TEXT, "'1 OR 1'"),
    ],
)
def test_a_value_is_one_literal(value: str, type_: ParameterType, literal: str) -> None:
    made = substitute("SELECT ${p}", {"p": value})
    assert made.text == f"SELECT {literal}"
    (parameter,) = made.parameters
    assert (parameter.type, parameter.literal, parameter.given) == (type_, literal, True)


@given(
    st.text(), st.sampled_from(["a", "'x'", "-", "1", "||", "`q`", "$", "."]), st.sampled_from(["b", "'y'", "-", "2"])
)
@example("--", "-", "-")
@example("-1", "-", "-")
def test_whatever_a_value_says_the_words_around_it_stay_what_they_are(value: str, before: str, behind: str) -> None:
    try:
        made = substitute(f"{before}${{p}}{behind}", {"p": value})
    except SqlValidationError as error:
        assert "cannot be printed" in error.problem
        return
    tokens = [(token.kind, token.value) for token in tokenize(made.text)]
    first, last = tokenize(before)[:-1], tokenize(behind)[:-1]
    literal = tokenize(made.parameters[0].literal)[:-1]
    assert tokens[:-1] == [(token.kind, token.value) for token in [*first, *literal, *last]]


def test_set_counts_for_what_stands_behind_it() -> None:
    text = "SET 'a' = '1'; SELECT ${a}; SET 'a' = '2'; SELECT ${a}, ${ a }; RESET 'a'; SELECT '${a}', `${a}` -- ${a}"
    made = substitute(text)
    assert made.text.split("; ")[1::2] == ["SELECT 1", "SELECT 2, 2", "SELECT '${a}', `${a}` -- ${a}"]
    assert [parameter.name for parameter in made.parameters] == ["a"]


def test_a_value_from_outside_comes_before_set_and_has_its_type() -> None:
    text = "SET 'n' = '1'; SET 'w' = 'INTERVAL ''10'' MINUTE'; SET 's' = 'x'; SELECT ${n}, ${w}, ${s}"
    made = substitute(text, {"n": "2.5", "w": "90 s", "s": "7"})
    assert made.text.endswith("SELECT 2.5, INTERVAL '90' SECOND, '7'")
    assert substitute(text, {"w": "2 h"}).text.endswith("SELECT 1, INTERVAL '2' HOUR, 'x'")
    assert substitute(text, {"w": "1500ms"}).text.endswith("SELECT 1, INTERVAL '1.5' SECOND, 'x'")
    with pytest.raises(SqlValidationError, match=r"parameters\.n is 'many', and the parameter is a number"):
        substitute(text, {"n": "many"})
    with pytest.raises(
        SqlValidationError, match=r"parameters\.w is '5', and the parameter is an interval such as 5 min"
    ):
        substitute(text, {"w": "5"})


@pytest.mark.parametrize(
    ("text", "problem", "column"),
    [
        ("SET 'limit' = '1'; SELECT ${limt}", "did you mean limit?", 27),
        ("SELECT ${limit}", "SET 'limit' = '…' before, or parameters.limit in settings", 8),
        ("RESET; SELECT ${a}", "has no value", 15),
        ("SELECT ${a; b}", "expected a parameter such as ${retail.amount}", 8),
        ("SELECT ${", "expected a parameter", 8),
        ("SET 'a' = 'x\ny'; SELECT ${a}", "cannot be printed", 11),
    ],
)
def test_what_is_wrong_is_told_at_its_place(text: str, problem: str, column: int) -> None:
    with pytest.raises((SqlSyntaxError, SqlValidationError)) as caught:
        substitute(text)
    assert problem in caught.value.problem
    assert caught.value.column == column


@pytest.mark.parametrize("wrong", ["b", "unknown_function(a)", "${who} + TRUE"])
def test_errors_point_at_the_original(wrong: str) -> None:
    text = f"SET 'who' = 'a rather long text';\n{TABLE}SELECT ${{who}} AS w, {wrong} FROM t WHERE k = ${{who}}"
    with pytest.raises(SqlError) as caught:
        bind_job(text, name="job")
    line = text.splitlines()[caught.value.line - 1]
    assert caught.value.text == text
    assert line.index(wrong) < caught.value.column <= line.index(wrong) + len(wrong)
    assert line in str(caught.value)


def test_an_error_about_a_value_points_at_the_whole_parameter() -> None:
    with pytest.raises(SqlError) as caught:
        bind_job(f"{TABLE}SET 'n' = 'many'; SELECT k FROM t WHERE ABS(${{n}}) > 1", name="job")
    assert caught.value.text[caught.value.start : caught.value.end].startswith("${n}")


def test_a_job_has_the_version_of_its_values_and_no_warning_for_them() -> None:
    text = f"SET 'n' = '1'; SET 'other' = '2'; {TABLE}SELECT k FROM t WHERE a > ${{n}}"
    usual, given_ = bind_job(text, name="job"), bind_job(text, name="job", parameters={"n": "3", "of.another": "4"})
    assert usual.warnings == ("SET 'other' has no meaning here and is ignored",)
    assert [(one.name, one.usual, one.literal) for one in given_.parameters] == [("n", "1", "3")]
    assert usual.version != given_.version == bind_job(text.replace("${n}", "3"), name="job").version
    (query_, other) = (job.plans[0].queries[0] for job in (usual, given_))
    assert query_.fingerprint != other.fingerprint, "state of another value is not taken over"


def test_query_and_session_take_values() -> None:
    sql = "SET 'least' = '5'; SELECT k FROM t WHERE a > ${least}"
    assert query(sql, ROWS).rows == [("it's",)]
    assert query(sql, ROWS, parameters={"least": "1"}).rows == [("ann",), ("it's",)]
    assert query("SELECT a FROM t WHERE k = ${who}", ROWS, parameters={"who": "it's"}).rows == [(9,)]
    session = Session(ROWS)
    session.execute("SET 'least' = '5'")
    session.execute("CREATE VIEW large AS SELECT k FROM t WHERE a > ${least}")
    session.execute("SET 'least' = '1'")
    assert session.execute("SELECT k FROM large").rows == [("it's",)]
    assert session.execute("SELECT k FROM t WHERE a > ${least}").rows == [("ann",), ("it's",)]
    assert Session(ROWS, parameters={"least": "100"}).run(sql)[1].rows == []
    with pytest.raises(SqlError) as caught:
        session.execute("SELECT ${least}, b FROM t")
    assert caught.value.column == 18
