"""docs/shell.md: every example gives what it shows, and every option and key that it names is there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly_app.cli.sql import sql
from anomaly_app.shell.options import KNOWN
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, send

PAGE = (Path(__file__).parents[2] / "docs" / "shell.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```sql\n(.*?)^```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(RECORDS,) = re.findall(r"^```json sales\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(TABLES,) = re.findall(r"^```sql tables\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("sales", "large") as broker:
        records = [Sent(None, line.encode(), 1_767_258_000_000, 0) for line in RECORDS.splitlines()]
        asyncio.run(send(broker.bootstrap_servers, "sales", records))
        yield broker


@pytest.mark.parametrize(("statements", "shown"), EXAMPLES, ids=[statements[:40] for statements, _ in EXAMPLES])
def test_an_example_gives_what_the_page_shows(
    broker: EmbeddedBroker, tmp_path: Path, statements: str, shown: str
) -> None:
    (tmp_path / "tables.sql").write_text(TABLES)
    command = [sys.executable, "-m", "anomaly_app.cli", "sql", "--broker", broker.bootstrap_servers, "-i", "tables.sql"]
    ended = subprocess.run(
        command,
        input=statements,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.stdout == "[INFO] Execute statement succeeded.\n" + shown
    assert ended.returncode == 0


def test_the_page_names_every_option() -> None:
    older = "sql-client.display.max-column-width"
    assert all(f"`'{key}'`" in PAGE for key in KNOWN if key != older)
    options = sql.__annotations__
    assert {"file", "execute", "init", "json"} <= set(options)
    assert all(f"--{name}" in PAGE for name in ("init", "file", "execute", "json"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
