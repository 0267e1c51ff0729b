"""What is wrong with a text is said with line, column, a caret and what was expected.

Each file in ``errors`` holds the dialect, the text, a line ``=>``, and the error as it is printed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app import SqlError
from anomaly_app.jobs.binder import bind_text
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
