"""Functions written in Python: their types, NULL, errors, and from where they may come."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from anomaly_app import EvaluationError, Rows, Session, SqlValidationError, udf
from anomaly_app.expressions.functions.python import PythonFunction, load_function
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode

TABLE = Rows(
    [("n", "INT"), ("s", "STRING"), ("d", "DECIMAL(10, 2)"), ("ts", "TIMESTAMP(3)"), ("xs", "ARRAY<INT>")],
    [(1, "a", "1.50", "2026-01-01 09:00:00", [1, 2]), (None, None, None, None, None)],
)


def _session() -> Session:
    return Session({"t": TABLE}, function_modules=["shop_functions"])


def _rows(session: Session, expression: str) -> list[object]:
    return [row[0] for row in session.execute(f"SELECT {expression} AS r FROM t").rows]


def test_values_are_pythons_own_both_ways() -> None:
    session = _session()
    seen: list[object] = []

    def same(value: object) -> object:
        seen.append(value)
        return value

    for column, type_ in (("d", "DECIMAL(10, 2)"), ("ts", "TIMESTAMP(3)"), ("xs", "ARRAY<INT>"), ("s", "STRING")):
        session.register(f"same_{column}", same, arguments=[type_], returns=type_)
        assert _rows(session, f"same_{column}({column})") == _rows(session, column)
    expected = [Decimal("1.50"), datetime.datetime(2026, 1, 1, 9), [1, 2], "a"]
    assert [value for value in seen if value is not None] == expected
    assert seen.count(None) == 4, "it is called with None for NULL"


def test_annotations_say_the_types() -> None:
    def price(n: int, s: str | None) -> float:
        return 0.0 if s is None else n * 1.5

    session = _session()
    session.register("price", price)
    result = session.execute("SELECT price(n, s) AS p FROM t")
    assert result.columns == [("p", "DOUBLE")] and result.rows == [(1.5,), (0.0,)]


def test_the_decorator_says_them_and_vectorised() -> None:
    @udf(arguments=["INT"], returns="INT", vectorised=True)
    def doubled(values):
        return [value and value * 2 for value in values]

    session = _session()
    session.register("doubled", doubled)
    assert _rows(session, "Doubled(n)") == [2, None]


@pytest.mark.parametrize(
    ("result", "returns", "problem"),
    [
        (lambda n: "x", "INT", "gave what is no INT"),
        (lambda n: "7", "INT", "gave what is no INT"),
        (lambda n: 1 << 40, "INT", "gave what is no INT"),
        (lambda n: None, "INT NOT NULL", "gave what is no INT NOT NULL"),
        (lambda n: [n], "INT", "gave what is no INT"),
        (lambda n: {}["k"], "INT", "KeyError: 'k'"),
    ],
)
def test_what_goes_wrong_in_it_is_an_error_of_the_row(result, returns: str, problem: str) -> None:
    session = _session()
    session.register("f", result, arguments=["INT"], returns=returns)
    with pytest.raises(EvaluationError, match=problem):
        _rows(session, "f(n)")


def test_the_rows_around_such_a_row_go_on(modules: None) -> None:
    create = "CREATE FUNCTION inverse AS 'shop_functions.inverse' LANGUAGE PYTHON; CREATE TABLE t (n BIGINT);"
    bound = bind_text(f"{create} SELECT inverse(n) AS i FROM t", {}, modules=["shop_functions"])
    slot = QuerySlot("query", bound.factory.create(bound.layout), needs_order=bound.factory.needs_order)
    task = PartitionTask([slot], delay_ms=0, mode=TimeMode.ARRIVAL)
    task.process([(0, n, n) for n in (4, 0, 2)], end=3)
    output = task.take()
    assert [finding.values for _, finding in output.findings] == [(0.25,), (0.5,)]
    ((_, problem),) = output.problems
    assert "function INVERSE: ZeroDivisionError" in str(problem.error)
    assert [row[2] for row in problem.rows] == [0]


def test_null_for_an_argument_that_is_not_null_is_an_error_of_the_row() -> None:
    session = _session()
    session.register("f", lambda n: n, arguments=["INT NOT NULL"], returns="INT")
    with pytest.raises(EvaluationError, match="argument 1 of F is NULL: it is INT NOT NULL"):
        _rows(session, "f(n)")
    assert _rows(session, "f(COALESCE(n, 5))") == [1, 5]


def test_a_vectorised_function_gives_a_result_for_each_row() -> None:
    session = _session()
    session.register("f", lambda ns: [], arguments=["INT"], returns="INT", vectorised=True)
    with pytest.raises(EvaluationError, match="gave 0 results for 1 row"):
        _rows(session, "f(n)")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT f() FROM t", "F takes 2 arguments, not 0"),
        ("SELECT f(n, n) FROM t", "argument 2 of F must be STRING, not INT"),
        ("SELECT f(CAST(n AS DOUBLE), s) FROM t", "argument 1 of F must be INT, not DOUBLE"),
        ("SELECT f(NULL, s) FROM t", "a bare NULL has no type"),
        ("SELECT f(n, s) OVER (ORDER BY ts) FROM t", "OVER"),
        ("SELECT f(DISTINCT n, s) FROM t", "neither DISTINCT nor FILTER"),
    ],
)
def test_calls_are_checked(sql: str, problem: str) -> None:
    session = _session()
    session.register("f", lambda n, s: n, arguments=["INT", "STRING"], returns="INT")
    with pytest.raises(SqlValidationError, match=problem):
        session.execute(sql)


def test_it_may_stand_wherever_an_expression_may() -> None:
    columns = [("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
    rows = [("a", v, f"2026-01-01 09:00:0{n}") for n, v in enumerate((1, 2, 9, 3))]
    session = Session({"t": Rows(columns, rows, rowtime="ts")})
    session.register("big", lambda v: v is not None and v > 5, arguments=["INT"], returns="BOOLEAN")
    session.register("twice", lambda v: v * 2, arguments=["INT"], returns="INT")
    window = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)"
    for sql, expected in (
        ("SELECT v FROM t WHERE big(v)", [(9,)]),
        (f"SELECT SUM(twice(v)) AS s FROM {window} GROUP BY window_start, window_end", [(30,)]),
        (
            f"SELECT big(v) AS b, COUNT(*) AS n FROM {window} GROUP BY big(v), window_start, window_end",
            [(False, 3), (True, 1)],
        ),
        (f"SELECT COUNT(*) AS n FROM {window} GROUP BY window_start, window_end HAVING twice(SUM(v)) > 29", [(4,)]),
        ("SELECT SUM(twice(v)) OVER (PARTITION BY k ORDER BY ts) AS s FROM t", [(2,), (6,), (24,), (30,)]),
        (
            "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES twice(B.v) AS w, A.v AS v "
            "PATTERN (A B) DEFINE B AS big(B.v))",
            [("a", 18, 2)],
        ),
    ):
        assert sorted(session.execute(sql).rows) == sorted(expected), sql


def test_a_name_is_taken_once() -> None:
    session = _session()
    session.register("f", lambda n: n, arguments=["INT"], returns="INT")
    for name, problem in (
        ("F", "created twice"),
        ("upper", "there is a function UPPER"),
        ("sum", "there is a function"),
    ):
        with pytest.raises(ValueError, match=problem):
            session.register(name, lambda n: n, arguments=["INT"], returns="INT")
    with pytest.raises(ValueError, match="is no name for a function"):
        session.register("a b", lambda n: n, arguments=["INT"], returns="INT")


@pytest.mark.parametrize(
    ("function", "given", "problem"),
    [
        (lambda a: a, {}, "SQL type of its argument 'a' is not known"),
        (lambda: 1, {}, "SQL type of its result is not known"),
        (lambda a: a, {"arguments": ["INTT"], "returns": "INT"}, "INTT"),
    ],
)
def test_types_must_be_known(function, given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PythonFunction("f", function, **given)


MODULE = '''
"""Functions."""
def with_tax(price: float) -> float:
    return price * 1.5
def inverse(n: int) -> float:
    return 1 / n
number = 3
'''


@pytest.fixture
def modules(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_functions.py").write_text(MODULE)
    (tmp_path / "shop_functions_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


def test_create_function(modules: None) -> None:
    session = _session()
    session.execute("CREATE TEMPORARY FUNCTION gross AS 'shop_functions.with_tax' LANGUAGE PYTHON")
    session.execute("CREATE FUNCTION IF NOT EXISTS gross AS 'nowhere.f' LANGUAGE PYTHON")
    assert session.execute("SELECT gross(n) AS g FROM t WHERE n = 1").rows == [(1.5,)]
    assert session.execute("SHOW USER FUNCTIONS").rows == [("gross",)]
    session.execute("DROP FUNCTION gross")
    with pytest.raises(SqlValidationError, match="unknown function GROSS"):
        session.execute("SELECT gross(n) FROM t")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("shop_functions.with_tacks", "has no function 'with_tacks'; did you mean 'with_tax'"),
        ("shop_functions.number", "has no function 'number'"),
        ("shop_functionsX.f", "functions.modules allows no module 'shop_functionsX': it has shop_functions"),
        ("os.system", "functions.modules allows no module 'os'"),
        ("with_tax", "should be 'module.name'"),
        ("shop_functions.with-tax", "should be 'module.name'"),
    ],
)
def test_what_cannot_be_taken(modules: None, target: str, problem: str) -> None:
    with pytest.raises(SqlValidationError, match=problem) as caught:
        _session().execute(f"CREATE FUNCTION f AS '{target}' LANGUAGE PYTHON")
    assert "^" in str(caught.value)


def test_a_module_that_cannot_be_imported(modules: None) -> None:
    with pytest.raises(ValueError, match="cannot be imported: ZeroDivisionError"):
        load_function("shop_functions_broken.f", ["shop_functions_broken"])
