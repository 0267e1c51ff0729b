"""docs/models.md says what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly_app.models.options import CallOptions, call_options, plain
from anomaly_app.models.providers import PROVIDERS
from anomaly_app.sql import parse_statements

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_statements_of_the_page_are_read(sql: str) -> None:
    assert parse_statements(sql)


def test_all_providers_are_there() -> None:
    table = PAGE[PAGE.index("## Providers") :]
    assert all(f"`{provider}`" in table for provider in PROVIDERS)


def test_defaults_of_calls_are_those_of_the_page() -> None:
    table = PAGE[PAGE.index("## Calls") : PAGE.index("## A model of your own")]
    named = dict(re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE))
    given = {}
    for names, default in named.items():
        values = default.split(", ")
        for number, name in enumerate(re.findall(r"`([^`]+)`", names)):
            value = values[min(number, len(values) - 1)].strip("` ")
            if value not in ("the provider's", "no bound"):
                given[plain(name)] = value
    assert len(given) >= 7
    assert call_options(given) == CallOptions()
