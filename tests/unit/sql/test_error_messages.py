"""What is wrong with a text is said with line, column, a caret and what was expected.

Each file in ``errors`` holds the dialect, the text, a line ``=>``, and the error as it is printed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app import SqlError
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type

FILES = sorted((Path(__file__).parent / "errors").glob("*.txt"))
COLUMNS = [("id", "INT"), ("user_id", "STRING"), ("qty", "INT"), ("price", "DECIMAL(10, 2)"), ("ok", "BOOLEAN")]
EVENTS = Schema(
    tuple(Column(name, parse_type(type_)) for name, type_ in [*COLUMNS, ("ts", "TIMESTAMP(3)")]), rowtime="ts"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_message(path):
    dialect, _, rest = path.read_text().partition("\n")
    text, expected = rest.split("\n=>\n")
    with pytest.raises(SqlError) as caught:
        bind_text(text, {"events": EVENTS}, dialect)
    assert f"{type(caught.value).__name__}: {caught.value}\n" == expected


def test_there_are_messages():
    assert len(FILES) > 40


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE OR REPLACE MODEL m INPUT (a INT) OUTPUT (s INT) WITH ('provider' = 'rest', 'api_key' = 'top''secret')",
        "CREATE CONNECTION c WITH ('type' = 'rest' 'endpoint' = 'x', 'api-key' = 'top''secret')",
        "CREATE CONNECTION c WITH ('type' = 'rest', 'api-key' = 'top''secret)",
        "CREATE CONNECTION c WITH ('type' = 'rest', 'api-key' 'top''secret')",
        "CREATE CONNECTION c WITH ('type' = 'rest', 'api-key' => 'top''secret')",
        "CREATE CONNECTION c WITH ('type' = 'rest', api-key = 'top''secret')",
        "CREATE CONNECTION c WITH ('type' = 'rest', 'api-key' =\n'top''secret' 'x')",
        "CREATE TABLE t (a INTT) WITH ('connector' = 'kafka', 'properties.sasl.jaas.config' = 'x p=\"top''secret\";')",
        "ALTER CONNECTION nobody SET ('api-key' = 'top''secret')",
        "SET 'kafka.sasl_password' = 'top''secret' 3",
    ],
)
def test_no_error_quotes_a_secret(sql: str) -> None:
    with pytest.raises(SqlError) as failed:
        bind_job(sql + ";\nSELECT 1;", name="job")
    message = str(failed.value)
    assert "secret" not in message
    quoted = f"{sql};".splitlines()[failed.value.line - 1]
    assert len(message.splitlines()[1]) == 2 + len(quoted), "the caret stands where it stood"


def test_what_is_no_secret_is_quoted() -> None:
    with pytest.raises(SqlError, match="'endpoint' = 'http://x', 'api-key' = '\\$\\{env:KEY\\}'"):
        bind_job(
            "CREATE CONNECTION c WITH ('type' = 'rest', 'endpoint' = 'http://x', 'api-key' = '${env:KEY}' 3)", name="j"
        )
