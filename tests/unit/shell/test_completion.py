"""What Tab offers."""

from __future__ import annotations

import pytest

from anomaly_app import Session
from anomaly_app.shell.completion import suggest


@pytest.fixture
def session() -> Session:
    session = Session()
    session.run(
        "CREATE TABLE sales (user_id STRING, quantity INT, `order` INT, ts TIMESTAMP(3));"
        "CREATE TABLE users (user_id STRING, name STRING);"
        "CREATE VIEW large AS SELECT user_id AS buyer, quantity FROM sales WHERE quantity > 3"
    )
    return session


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ("SEL", ["SELECT"]),
        ("sel", ["select"]),
        ("SELECT 1; SHO", ["SHOW"]),
        ("SHOW TA", ["TABLES"]),
        ("CREATE VI", ["VIEW"]),
        ("SELECT * FROM ", ["large", "sales", "users"]),
        ("SELECT * FROM S", ["sales"]),
        ("DESCRIBE u", ["users"]),
        ("INSERT INTO us", ["users"]),
        ("SELECT * FROM TABLE(TUMBLE(TABLE sa", ["sales"]),
        ("SELECT s.qu FROM sales AS s WHERE s.qu", ["quantity"]),
        ("SELECT u. FROM users u WHERE u.", ["user_id", "name"]),
        ("SELECT nobody.", []),
        ("SELECT quan", ["quantity"]),
        ("SELECT * FROM sales WHERE `or", ["`order`"]),
        ("SELECT * FROM large WHERE buy", ["buyer"]),
        ("SELECT * FROM users WHERE quan", []),
        ("SELECT upp", ["upper"]),
        ("SELECT UPP", ["UPPER"]),
        ("SET 'sql-client.execution.res", ["'sql-client.execution.result-mode'"]),
        ("SELECT 'sal", []),
        ("SELECT a FROM users; SET", []),
    ],
)
def test_words_that_fit_are_offered(session: Session, before: str, offered: list[str]) -> None:
    assert [one.text for one in suggest(before, session)] == offered


def test_what_is_offered_takes_the_place_of_what_is_typed(session: Session) -> None:
    (one,) = suggest("SELECT * FROM sales WHERE quan", session)
    assert (one.text, one.typed, one.what) == ("quantity", 4, "column")


def test_a_view_that_is_wrong_by_now_offers_nothing(session: Session) -> None:
    session.execute("DROP TABLE sales")
    assert suggest("SELECT large.", session) == []
