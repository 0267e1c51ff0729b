"""Sessions: names, what SHOW and DESCRIBE print, what is kept from one statement to the next."""

from __future__ import annotations

import pytest

import anomaly_app
from anomaly_app import DataError, EvaluationError, Rows, Session, SqlError, SqlValidationError, query


def _sales() -> Rows:
    columns = [("user_id", "STRING"), ("qty", "INT"), ("ts", "TIMESTAMP(3)")]
    rows = [("ann", 2, "2026-01-01 09:00:00"), ("bob", 9, "2026-01-01 09:00:01"), ("ann", 7, "2026-01-01 09:00:02")]
    return Rows(columns, rows, rowtime="ts", watermark_delay_ms=5_000)


@pytest.fixture
def session() -> Session:
    return Session({"sales": _sales()})


def test_it_is_exported() -> None:
    assert {"Session", "udf"} <= set(anomaly_app.__all__)
    assert anomaly_app.Session is Session


def test_a_query_gives_what_query_gives(session: Session) -> None:
    sql = "SELECT user_id, qty FROM sales WHERE qty > 5"
    assert session.execute(sql) == query(sql, {"sales": _sales()})


def test_a_view_is_checked_when_it_is_made_and_not_kept_if_it_is_wrong(session: Session) -> None:
    with pytest.raises(SqlValidationError, match="unknown column 'quantity'"):
        session.execute("CREATE VIEW large AS SELECT quantity FROM sales")
    assert session.execute("SHOW VIEWS").rows == []
    session.execute("CREATE VIEW large AS SELECT user_id FROM sales WHERE qty > 5")
    with pytest.raises(SqlValidationError, match="views that read each other: large → large"):
        session.execute("ALTER VIEW large AS SELECT * FROM large")
    assert session.execute("SELECT * FROM large").rows == [("bob",), ("ann",)]


def test_an_error_of_a_view_points_into_the_text_of_the_view(session: Session) -> None:
    session.execute("CREATE TABLE other (a INT)")
    session.execute("CREATE VIEW v AS SELECT a FROM other")
    session.execute("DROP TABLE other")
    with pytest.raises(SqlValidationError) as caught:
        session.execute("SELECT * FROM v")
    assert "unknown table 'other'" in str(caught.value) and "CREATE VIEW v AS SELECT a FROM other" in str(caught.value)


def test_a_view_means_what_its_names_meant_when_it_was_made(session: Session) -> None:
    session.execute("CREATE VIEW large AS WITH w AS (SELECT * FROM sales) SELECT user_id FROM w WHERE qty > 5")
    session.run("CREATE DATABASE shop; USE shop; CREATE TABLE sales (user_id STRING, qty INT)")
    assert session.execute("SELECT * FROM default_database.large").rows == [("bob",), ("ann",)]
    session.execute("CREATE VIEW mine AS SELECT * FROM default_catalog.default_database.large")
    session.execute("USE default_database")
    assert session.execute("SELECT * FROM shop.mine").rows == [("bob",), ("ann",)]


@pytest.mark.parametrize("name", ["sales", "default_database.sales", "default_catalog.default_database.sales", "SALES"])
def test_a_name_is_found_with_and_without_catalog_and_database(session: Session, name: str) -> None:
    assert len(session.execute(f"SELECT * FROM {name}").rows) == 3


def test_tables_with_dotted_names_need_no_create_database() -> None:
    session = Session({"`cat`.`db`.`t`": Rows([("a", "INT")], [(1,)]), "db.u": Rows([("a", "INT")], [(2,)])})
    assert session.execute("SELECT a FROM cat.db.t").rows == [(1,)]
    assert session.execute("SHOW CATALOGS").rows == [("cat",), ("default_catalog",)]
    session.execute("USE CATALOG cat")
    assert session.execute("SHOW CURRENT DATABASE").rows == [("db",)]
    assert session.execute("SELECT a FROM t").rows == session.execute("SELECT a FROM db.t").rows == [(1,)]
    assert session.execute("SELECT a FROM default_catalog.db.u").rows == [(2,)]
    with pytest.raises(SqlValidationError, match=r"unknown table 'u'.*default_catalog\.db\.u"):
        session.execute("SELECT a FROM u")


def test_rows_of_an_insert_are_kept(session: Session) -> None:
    session.execute("CREATE TABLE seen (who STRING, at TIMESTAMP(3))")
    with pytest.raises(SqlValidationError, match="no rows are given for table 'seen'"):
        session.execute("SELECT * FROM seen")
    first = session.execute("INSERT INTO seen SELECT user_id, ts FROM sales WHERE qty > 8")
    session.execute("BEGIN STATEMENT SET; INSERT INTO seen SELECT user_id, ts FROM sales WHERE qty < 5; END")
    assert session.execute("SELECT * FROM seen").rows == [
        *first.rows,
        *query("SELECT user_id, ts FROM sales WHERE qty < 5", {"sales": _sales()}).rows,
    ]


def test_tables_may_be_given_later_and_the_rows_of_a_create_table_too() -> None:
    session = Session()
    session.execute("CREATE TABLE t (a INT, b STRING)")
    session.add("t", Rows(rows=[(1, "x")]))
    session.add("u", Rows([("a", "INT")], [(5,)]))
    assert session.execute("SELECT b FROM t").rows == [("x",)]
    assert session.execute("SELECT a FROM u").rows == [(5,)]
    with pytest.raises(DataError, match="a table is given as int"):
        session.add("v", 3)


def test_rows_follow_their_table(session: Session) -> None:
    session.execute("ALTER TABLE sales RENAME TO purchases")
    assert len(session.execute("SELECT * FROM purchases").rows) == 3
    session.execute("DROP TABLE purchases")
    with pytest.raises(SqlValidationError, match="unknown table 'purchases'"):
        session.execute("SELECT * FROM purchases")


def test_describe_as_flink_prints_it(session: Session) -> None:
    session.execute(
        "CREATE TABLE t (id INT, name VARCHAR(32) NOT NULL, at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, "
        "`offset` BIGINT METADATA, p AS PROCTIME(), PRIMARY KEY (id) NOT ENFORCED, "
        "WATERMARK FOR at AS at - INTERVAL '1' MINUTE)"
    )
    told = session.execute("DESC t")
    assert [name for name, _ in told.columns] == ["name", "type", "null", "key", "extras", "watermark"]
    assert told.rows == [
        ("id", "INT", False, "PRI(id)", None, None),
        ("name", "VARCHAR(32)", False, None, None, None),
        (
            "at", "TIMESTAMP_LTZ(3) *ROWTIME*", True, None, "METADATA FROM 'timestamp' VIRTUAL",
            "`at` - INTERVAL '1' MINUTE",
        ),
        ("offset", "BIGINT", True, None, "METADATA", None),
        ("p", "TIMESTAMP_LTZ(3) *PROCTIME*", False, None, "AS PROCTIME()", None),
    ]  # fmt: skip
    assert session.execute("SHOW COLUMNS IN t LIKE 'n%'").rows == [told.rows[1]]
    session.execute("CREATE VIEW v AS SELECT ts, qty + 1 AS more FROM sales")
    assert [row[:2] for row in session.execute("DESCRIBE v").rows] == [
        ("ts", "TIMESTAMP(3) *ROWTIME*"),
        ("more", "INT"),
    ]


def test_show_create_names_a_primary_key_as_flink_does(session: Session) -> None:
    session.execute("CREATE TABLE orders (`user` BIGINT, product VARCHAR(32), PRIMARY KEY (`user`) NOT ENFORCED)")
    ((text,),) = session.execute("SHOW CREATE TABLE orders").rows
    assert "  CONSTRAINT `PK_3599338` PRIMARY KEY (`user`) NOT ENFORCED\n)" in text
    assert "  `user` BIGINT NOT NULL,\n" in text


def test_what_show_create_gives_makes_the_same_table(session: Session) -> None:
    session.execute(
        "CREATE TABLE t (a ARRAY<STRING>, r ROW<`STRING` BYTES>, p AS PROCTIME(), ts TIMESTAMP(3), "
        "WATERMARK FOR `ts` AS `ts`) WITH ('connector' = 'kafka', 'value' = 'it''s')"
    )
    ((text,),) = session.execute("SHOW CREATE TABLE t").rows
    assert "ARRAY<VARCHAR(2147483647)>" in text and "ROW<`STRING` VARBINARY(2147483647)>" in text
    other = Session()
    other.execute(text.replace("VARCHAR(2147483647)", "STRING"))
    ((again,),) = other.execute("SHOW CREATE TABLE t").rows
    assert again == text


def test_settings_are_listed_and_taken_back(session: Session) -> None:
    session.execute("SET 'table.exec.state.ttl' = '30 d'")
    session.execute("SET 'my.password' = 'x'")
    assert session.execute("SET").rows == [("my.password", "******"), ("table.exec.state.ttl", "30 d")]
    words = session.execute("EXPLAIN SELECT COUNT(*) OVER (PARTITION BY user_id ORDER BY ts) AS n FROM sales").rows[0][
        0
    ]
    assert "dropped after 30 days" in words
    session.execute("RESET")
    assert session.execute("SET").rows == []
    words = session.execute("EXPLAIN SELECT COUNT(*) OVER (PARTITION BY user_id ORDER BY ts) AS n FROM sales").rows[0][
        0
    ]
    assert "kept for ever" in words
    with pytest.raises(SqlValidationError, match="must be a duration"):
        session.execute("SET 'table.exec.state.ttl' = 'soon'")
    assert session.execute("SET").rows == []


def test_one_statement_at_a_time(session: Session) -> None:
    with pytest.raises(SqlError, match="line 1, column 11: expected one statement, found 2"):
        session.execute("SELECT 1; SELECT 2")
    with pytest.raises(SqlError, match="expected one statement, found 0"):
        session.execute(" ; ")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DROP VIEW sales", "sales is a table: write DROP TABLE"),
        ("DROP TABLE v", "v is a view: write DROP VIEW"),
        ("DROP TABLE slaes", r"unknown table 'slaes'; did you mean sales\?"),
        ("DROP FUNCTION f", "unknown function 'f'"),
        ("ALTER TABLE v RENAME TO w", "v is a view: write ALTER VIEW"),
        ("ALTER VIEW sales AS SELECT 1", "sales is a table: write ALTER TABLE"),
        ("ALTER TABLE sales RENAME TO v", "v is there already"),
        ("ALTER TABLE sales DROP qtty", r"unknown column 'qtty'; did you mean qty\?"),
        ("ALTER TABLE sales DROP ts", "column 'ts' cannot be dropped: it is in the watermark"),
        ("ALTER TABLE sales ADD qty INT", "column 'qty' is there already: MODIFY changes it"),
        ("ALTER TABLE sales MODIFY PRIMARY KEY (qty) NOT ENFORCED", "has no primary key: ADD gives it one"),
        ("ALTER TABLE sales ADD WATERMARK FOR ts AS ts", "has a watermark already: MODIFY changes it"),
        ("ALTER TABLE sales ADD (a INT AFTER b)", "AFTER unknown column 'b'"),
        ("ALTER TABLE nothing ADD a INT", "unknown table 'nothing'"),
        ("CREATE VIEW v AS SELECT 1 AS a FROM sales", "view v is created twice"),
        ("CREATE VIEW sales AS SELECT qty FROM sales", "table sales is there already"),
        ("CREATE DATABASE default_database", "database default_database is there already"),
        ("CREATE DATABASE no.way", "unknown catalog 'no'"),
        ("USE a.b.c", "the name of a database has at most 2 parts"),
        ("USE shop", "unknown database 'shop'"),
        ("DROP DATABASE default_database", "database default_database is the current one"),
        ("SHOW TABLES FROM shop", "unknown database 'shop'"),
        ("SHOW CREATE VIEW sales", "sales is a table: write SHOW CREATE TABLE"),
        ("SHOW CREATE TABLE v", "v is a view: write SHOW CREATE VIEW"),
        ("DESCRIBE nothing", "unknown table 'nothing'"),
        ("CREATE TABLE s LIKE nothing", "unknown table 'nothing'"),
        ("CREATE TABLE s (qty INT) LIKE sales", "column 'qty' is in both tables"),
        (
            "CREATE TABLE s (t TIMESTAMP(3), WATERMARK FOR t AS t) LIKE sales",
            r"a watermark is in both tables: LIKE sales \(EXCLUDING WATERMARKS or OVERWRITING WATERMARKS\)",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(session: Session, sql: str, problem: str) -> None:
    session.execute("CREATE VIEW v AS SELECT user_id FROM sales")
    with pytest.raises(SqlValidationError, match=problem) as caught:
        session.execute(sql)
    assert "^" in str(caught.value) and sql in str(caught.value)
    assert session.execute("SHOW TABLES").rows == [("sales",), ("v",)]


def test_a_database_that_is_not_empty_is_dropped_with_cascade_only(session: Session) -> None:
    session.run("CREATE DATABASE shop; CREATE TABLE shop.t (a INT)")
    with pytest.raises(SqlValidationError, match=r"not empty, it has shop\.t: DROP … CASCADE"):
        session.execute("DROP DATABASE shop")
    session.execute("DROP DATABASE shop CASCADE")
    assert session.execute("SHOW DATABASES").rows == [("default_database",)]


@pytest.mark.parametrize(
    ("wish", "columns", "watermark", "options"),
    [
        ("", ["a", "o", "p", "ts", "b"], True, {"x": "2", "y": "1"}),
        ("(EXCLUDING ALL)", ["a", "ts", "b"], False, {"x": "2"}),
        ("(EXCLUDING METADATA)", ["a", "p", "ts", "b"], True, {"x": "2", "y": "1"}),
        ("(EXCLUDING GENERATED EXCLUDING WATERMARKS)", ["a", "o", "ts", "b"], False, {"x": "2", "y": "1"}),
        ("(EXCLUDING ALL INCLUDING WATERMARKS)", ["a", "ts", "b"], True, {"x": "2"}),
        ("(EXCLUDING OPTIONS)", ["a", "o", "p", "ts", "b"], True, {"x": "2"}),
    ],
)
def test_like(wish: str, columns: list[str], watermark: bool, options: dict[str, str]) -> None:
    session = Session()
    session.execute(
        "CREATE TABLE one (a INT, o BIGINT METADATA FROM 'offset', p AS PROCTIME(), ts TIMESTAMP(3), "
        "WATERMARK FOR ts AS ts) WITH ('x' = '1', 'y' = '1')"
    )
    session.execute(f"CREATE TABLE two (b INT) WITH ('x' = '2') LIKE one {wish}")
    rows = session.execute("DESCRIBE two").rows
    assert [row[0] for row in rows] == columns
    assert any(row[5] for row in rows) is watermark
    ((text,),) = session.execute("SHOW CREATE TABLE two").rows
    assert all(f"'{key}' = '{value}'" in text for key, value in options.items())
    assert text.count("' = '") == len(options)


def test_an_option_in_both_is_an_error_only_if_it_may_not_be_overwritten() -> None:
    session = Session()
    session.execute("CREATE TABLE one (a INT) WITH ('x' = '1')")
    with pytest.raises(SqlValidationError, match="option 'x' is in both tables"):
        session.execute("CREATE TABLE two WITH ('x' = '2') LIKE one (INCLUDING OPTIONS)")


def test_modify_and_add_put_columns_where_they_are_told() -> None:
    session = Session()
    session.execute("CREATE TABLE t (a INT, b INT, c INT)")
    session.execute("ALTER TABLE t MODIFY (c STRING FIRST, a BIGINT)")
    session.execute("ALTER TABLE t ADD (d INT AFTER c, e INT)")
    assert [row[:2] for row in session.execute("DESC t").rows] == [
        ("c", "STRING"), ("d", "INT"), ("a", "BIGINT"), ("b", "INT"), ("e", "INT"),
    ]  # fmt: skip
    with pytest.raises(SqlValidationError, match="'connector' cannot be reset"):
        session.execute("ALTER TABLE t RESET ('connector')")


def test_an_error_of_a_function_is_one_of_the_row(session: Session) -> None:
    session.register("inverse", lambda x: 1 / x, arguments=["INT"], returns="DOUBLE")
    session.execute("CREATE VIEW v AS SELECT inverse(qty - 2) AS i FROM sales")
    with pytest.raises(EvaluationError, match="function INVERSE: ZeroDivisionError"):
        session.execute("SELECT i FROM v")
    assert session.execute("SELECT i FROM (SELECT inverse(qty) AS i FROM sales) WHERE i < 0.2").rows == [
        (1 / 9,),
        (1 / 7,),
    ]
