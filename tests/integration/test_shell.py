"""``anomaly sql`` against the embedded broker: in a pseudo-terminal as a person uses it, and in a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from terminal_screen import CTRL_C, CTRL_D, DOWN, ENTER, ESCAPE, LEFT, RIGHT, TAB, UP, TerminalScreen

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, read, send

pytestmark = pytest.mark.timeout(120)

TABLES = """
CREATE TABLE sales (
    user_id STRING, quantity INT, ts TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'sales', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE large (user_id STRING, quantity INT)
WITH ('connector' = 'kafka', 'topic' = 'large', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
"""
AVRO = """CREATE TABLE avro (user_id STRING) WITH ('connector' = 'kafka', 'topic' = 'sales',
    'format' = 'avro-confluent', 'avro-confluent.url' = 'http://127.0.0.1:9')""".replace("\n", " ")
"""A table whose registry is not there."""
START = 1_760_000_000_000
COMMAND = [sys.executable, "-m", "anomaly_app.cli", "sql"]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("sales", "large") as broker:
        yield broker


def _sell(broker: EmbeddedBroker, numbers: Sequence[int], partition: int | None = None) -> None:
    records = [
        Sent(None, json.dumps({"user_id": f"user-{number % 3}", "quantity": number}).encode(), START + number * 100,
             number % 4 if partition is None else partition)
        for number in numbers
    ]  # fmt: skip
    asyncio.run(send(broker.bootstrap_servers, "sales", records))


@pytest.fixture
def environment(broker: EmbeddedBroker, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tables.sql").write_text(TABLES)
    return {"XDG_STATE_HOME": str(tmp_path / "home"), "ANOMALY_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers}


@pytest.fixture
def screen(environment: dict[str, str], tmp_path: Path) -> Iterator[TerminalScreen]:
    """A shell that knows the tables and stands at its prompt."""
    with TerminalScreen([*COMMAND, "-i", str(tmp_path / "tables.sql")], environment, lines=24) as screen:
        screen.wait_for("^anomaly>")
        yield screen


def _run(environment: dict[str, str], *options: str, typed: str = "", interrupt_at: str = "") -> tuple[int, str, str]:
    """In a pipe: exit status, rows, remarks; Ctrl-C once a line of rows has a word."""
    with subprocess.Popen(
        [*COMMAND, *options],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(typed)
        process.stdin.close()
        out = ""
        for line in process.stdout:
            out += line
            if interrupt_at and interrupt_at in line:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
        return process.wait(), out, process.stderr.read()


def _until(condition: Callable[[], Any], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)


def _written(broker: EmbeddedBroker) -> list[Any]:
    return [json.loads(record.value) for record in asyncio.run(read(broker.bootstrap_servers, "large"))]


# --- in a terminal -------------------------------------------------------------------------------------


def test_a_table_changes_in_place_and_its_reader_goes_about(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    _sell(broker, range(40), partition=0)
    screen.send(f"SELECT * FROM sales;{ENTER}")
    page = screen.wait_for("row 40 of 40 +running")
    assert "2025-10-09 08:53:23.900" in page and " user-0 " in page.splitlines()[-2]
    screen.send("g")
    screen.wait_for("row 1 of 40")
    screen.send(DOWN * 3 + UP)
    screen.wait_for("row 3 of 40")
    screen.send(RIGHT)
    assert "user_id" not in screen.wait_for(r"^ +quantity +ts$")
    screen.send(LEFT)
    screen.wait_for(r"^ +user_id +quantity +ts$")
    screen.send(ENTER)
    screen.wait_for(r"^quantity\n  2\nts\n  2025-10-09 08:53:20.200")
    screen.send("q")
    _sell(broker, [40], partition=0)
    screen.wait_for("row 3 of 41")  # the reader is not taken away from the row
    screen.send("G")
    screen.wait_for("row 41 of 41")
    _sell(broker, [41], partition=0)
    screen.wait_for("row 42 of 42")
    screen.send("q")
    screen.wait_for(r"^Query terminated, received a total of 42 rows\nanomaly>$")


def test_rows_that_are_updated_keep_their_places(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    _sell(broker, range(6), partition=0)
    screen.send(f"SELECT user_id, COUNT(*) AS n FROM sales GROUP BY user_id;{ENTER}")
    screen.wait_for(r"^ +user-0 +2\n +user-1 +2\n +user-2 +2$")
    _sell(broker, [6, 7, 9], partition=0)
    screen.wait_for(r"^ +user-0 +4\n +user-1 +3\n +user-2 +2$")
    screen.wait_for("row 3 of 3")
    screen.send("q")
    screen.wait_for(r"^Query terminated, received a total of \d+ rows$")
    screen.send(f"SET 'sql-client.execution.result-mode' = 'changelog';{ENTER}")
    screen.send(f"SELECT user_id, COUNT(*) AS n FROM sales WHERE quantity > 8 GROUP BY user_id;{ENTER}")
    screen.wait_for(r"^\+I +user-0 +1$")
    _sell(broker, [9], partition=0)
    screen.wait_for(r"^\+I +user-0 +1\n-U +user-0 +1\n\+U +user-0 +2$")
    screen.send("q")


def test_a_changelog_has_the_op_in_front(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    _sell(broker, [1, 2, 3], partition=0)
    screen.send(f"SET 'sql-client.execution.result-mode' = 'changelog';{ENTER}")
    screen.send(f"SELECT quantity FROM sales;{ENTER}")
    screen.wait_for(r"^op +quantity\n\+I +1\n\+I +2\n\+I +3$")
    screen.send(ESCAPE)
    screen.send(CTRL_C)
    screen.wait_for(r"^Query terminated, received a total of 3 rows\nanomaly>$")


def test_ctrl_c_ends_the_statement_and_not_the_shell(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    _sell(broker, [1])
    screen.send(f"SET 'sql-client.execution.result-mode' = 'tableau';{ENTER}")
    screen.send(f"SELECT user_id, quantity FROM sales;{ENTER}")
    screen.wait_for(r"\| \+I \| +user-1 \| +1 \|$")
    _sell(broker, [5])
    screen.wait_for(r"\| \+I \| +user-2 \| +5 \|$")
    screen.send(CTRL_C)
    screen.wait_for(r"^Query terminated, received a total of 2 rows$")
    screen.send("SELECT nonsense")
    screen.send(CTRL_C)
    screen.send(f"SHOW TABLES;{ENTER}")
    screen.wait_for(r"^2 rows in set$")
    screen.send(CTRL_D)
    assert screen.wait() == 0


def test_a_statement_takes_several_lines_and_tab_completes(screen: TerminalScreen) -> None:
    screen.send(f"CREATE TABLE numbers (tally INT,{ENTER}other INT);{ENTER}")
    screen.wait_for(r"^anomaly> CREATE TABLE numbers \(tally INT,\n +> other INT\);\n\[INFO\]")
    screen.send("SELECT tal" + TAB)
    screen.wait_for("SELECT tally")
    screen.send(" FROM num" + TAB)
    screen.wait_for("FROM numbers")
    screen.send(";" + ENTER)
    screen.wait_for(r"^Empty set$")
    screen.send(UP)
    screen.wait_for(r"^anomaly> SELECT tally FROM numbers;$")


def test_an_error_points_and_the_shell_goes_on(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    screen.send(f"SELECT quantty FROM sales;{ENTER}")
    screen.wait_for(r"^\[ERROR\] line 1, column 8: unknown column 'quantty'; did you mean quantity\?\n.*\n +\^{7}$")
    asyncio.run(send(broker.bootstrap_servers, "sales", [Sent(None, b"\0\0\0\0\7more", START)]))
    screen.send(f"{AVRO}; SELECT * FROM avro;{ENTER}")
    screen.wait_for(r"^\[ERROR\] .*http://127\.0\.0\.1:9", whole=True)
    _sell(broker, [1])
    screen.send(f"SELECT * FROM sales;{ENTER}")
    screen.wait_for("row 1 of 1 +running  1 unreadable; the first: sales")


def test_history_outlives_the_shell_and_has_no_secrets(
    environment: dict[str, str], tmp_path: Path, screen: TerminalScreen
) -> None:
    screen.send(f"SET 'properties.sasl.jaas.config' = 'of ann';{ENTER}")
    screen.wait_for("succeeded")
    screen.send(f"quit{ENTER}")
    assert screen.wait() == 0
    history = tmp_path / "home" / "anomaly" / "sql-history"
    assert "ann" not in history.read_text() and history.stat().st_mode & 0o077 == 0
    with TerminalScreen(COMMAND, environment) as again:
        again.wait_for("^anomaly>")
        again.send(UP + UP)
        again.wait_for(r"^anomaly> SET 'properties.sasl.jaas.config' = '\*{6}';$")


# --- jobs ----------------------------------------------------------------------------------------------


def test_an_insert_is_a_job_that_can_be_stopped(broker: EmbeddedBroker, screen: TerminalScreen, tmp_path: Path) -> None:
    _sell(broker, range(40))
    screen.send(f"INSERT INTO large SELECT user_id, quantity FROM sales WHERE quantity > 30;{ENTER}")
    seen = screen.wait_for(r"Job [0-9a-f]{16} runs in the background")
    job = re.findall(r"Job ([0-9a-f]{16})", seen)[0]
    _until(lambda: len(_written(broker)) == 9)
    screen.send(f"SHOW JOBS;{ENTER}")
    screen.wait_for(rf"\| {job} \| insert-into_large \| RUNNING \|")
    screen.send(f"STOP JOB '{job[:6]}';{ENTER}")
    screen.wait_for(f"Job {job} is CANCELED")
    screen.send(f"DESCRIBE JOB '{job}';{ENTER}")
    screen.wait_for(rf"\| {job} \| insert-into_large \| CANCELED \|", whole=True)
    _sell(broker, [99])
    screen.send(f"QUIT;{ENTER}")
    assert screen.wait() == 0
    assert len(_written(broker)) == 9
    assert list((tmp_path / "home" / "anomaly" / "jobs").iterdir()) == []


def test_rows_that_are_there_are_written_at_once(broker: EmbeddedBroker, screen: TerminalScreen) -> None:
    screen.send(f"INSERT INTO large VALUES ('ann', 7), ('bob', 8);{ENTER}")
    screen.wait_for("2 rows written to large")
    assert sorted(row["user_id"] for row in _written(broker)) == ["ann", "bob"]


def test_a_job_that_fails_is_told_with_its_reason(screen: TerminalScreen) -> None:
    screen.send(f"{AVRO}; INSERT INTO large SELECT user_id, 1 FROM avro;{ENTER}")
    screen.wait_for("runs in the background")

    def told() -> bool:
        screen.send(ENTER)
        return re.search(r"has failed: .*http://127\.0\.0\.1:9", screen.text) is not None

    _until(told)
    screen.send(f"SHOW JOBS;{ENTER}")
    screen.wait_for(r"\| FAILED \|")


def _workers(environment: dict[str, str]) -> list[psutil.Process]:
    home = environment["XDG_STATE_HOME"]
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "anomaly_app.shell.worker" in (process.info["cmdline"] or ()) and home in " ".join(process.info["cmdline"])
    ]


def test_jobs_end_with_the_shell_however_it_ends(
    broker: EmbeddedBroker, environment: dict[str, str], screen: TerminalScreen
) -> None:
    screen.send(f"INSERT INTO large SELECT user_id, quantity FROM sales;{ENTER}")
    screen.wait_for("runs in the background")
    assert len(_workers(environment)) == 1
    os.kill(screen.process.pid, signal.SIGKILL)
    _until(lambda: not _workers(environment))
    (folder,) = (Path(environment["XDG_STATE_HOME"]) / "anomaly" / "jobs").iterdir()
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "started_ms": 0}))
    assert _run(environment, "-e", "SHOW JOBS")[:2] == (0, "")  # the next shell clears up
    assert not folder.exists()


def test_a_detached_job_outlives_the_shell_and_another_one_stops_it(
    broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path, screen: TerminalScreen
) -> None:
    screen.send(f"SET 'anomaly.jobs.detach' = 'true';{ENTER}")
    screen.send(f"INSERT INTO large SELECT user_id, quantity FROM sales;{ENTER}")
    screen.wait_for("runs in the background")
    screen.send(CTRL_D)
    assert screen.wait() == 0
    _sell(broker, range(3))
    _until(lambda: len(_written(broker)) == 3)
    status, out, _ = _run(environment, "--json", "-e", "SHOW JOBS")
    (job,) = [json.loads(line)["row"] for line in out.splitlines()]
    assert (status, job["status"]) == (0, "RUNNING")
    status, _, told = _run(environment, "-e", f"STOP JOB '{job['job id']}'")
    assert (status, "is CANCELED" in told) == (0, True)
    assert not _workers(environment)
    assert list((tmp_path / "home" / "anomaly" / "jobs").iterdir()) == []


# --- in a pipe -----------------------------------------------------------------------------------------


def test_rows_come_as_they_come_until_ctrl_c(
    broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path
) -> None:
    _sell(broker, [1, 2], partition=1)
    select = "SELECT quantity, ts FROM sales WHERE quantity > 1"
    init = ("-i", str(tmp_path / "tables.sql"))
    status, out, told = _run(environment, *init, "-e", select, interrupt_at="+I")
    assert status == 130
    assert out.splitlines()[1:] == [
        "| op |    quantity |                      ts |",
        "+----+-------------+-------------------------+",
        "| +I |           2 | 2025-10-09 08:53:20.200 |",
        "+----+-------------+-------------------------+",
    ]
    assert "Query terminated, received a total of 1 row\n" in told and "Traceback" not in told


def test_batch_reads_to_where_topics_end(broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path) -> None:
    _sell(broker, range(40))
    typed = """SET 'execution.runtime-mode' = 'batch';
        SELECT user_id, COUNT(*) AS n, window_end FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '2' SECOND))
        GROUP BY user_id, window_start, window_end;"""
    status, out, told = _run(environment, "-i", str(tmp_path / "tables.sql"), typed=typed)
    rows = sorted(line for line in out.splitlines() if "user-" in line)
    assert status == 0 and len(rows) == 6
    assert rows[0] == "|                         user-0 |                    7 | 2025-10-09 08:53:22.000 |"
    assert told.endswith("6 rows in set\n")


def test_a_bounded_table_ends_a_live_query(broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path) -> None:
    _sell(broker, range(20))
    typed = "ALTER TABLE sales SET ('scan.bounded.mode' = 'latest-offset'); SELECT quantity FROM sales;"
    status, out, _ = _run(environment, "--json", "-i", str(tmp_path / "tables.sql"), typed=typed)
    assert status == 0
    assert sorted(json.loads(line)["row"]["quantity"] for line in out.splitlines()) == list(range(20))


def test_where_a_table_begins(broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path) -> None:
    _sell(broker, range(10))
    bounded = "ALTER TABLE sales SET ('scan.bounded.mode' = 'latest-offset', {}); SELECT quantity FROM sales;"
    begins = {
        "'scan.startup.mode' = 'earliest-offset'": 10,
        "'scan.startup.mode' = 'latest-offset'": 0,
        "'scan.startup.mode' = 'group-offsets'": 10,
        "'scan.startup.mode' = 'group-offsets', 'properties.auto.offset.reset' = 'latest'": 0,
    }
    for options, count in begins.items():
        typed = bounded.format(options)
        status, out, told = _run(environment, "--json", "-i", str(tmp_path / "tables.sql"), typed=typed)
        assert (status, len(out.splitlines())) == (0, count), told
    typed = bounded.format("'scan.startup.mode' = 'group-offsets', 'properties.auto.offset.reset' = 'none'")
    status, _, told = _run(environment, "-i", str(tmp_path / "tables.sql"), typed=typed)
    assert status == 2 and "the group has no offset of sales[0]" in told


def test_what_gives_no_row_is_counted(broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path) -> None:
    asyncio.run(send(broker.bootstrap_servers, "sales", [Sent(None, b"no json", START, 0)]))
    _sell(broker, range(8), partition=0)
    far = [Sent(None, json.dumps({"user_id": "x", "quantity": 1}).encode(), START * 2, 0)]
    asyncio.run(send(broker.bootstrap_servers, "sales", far))
    typed = """SET 'execution.runtime-mode' = 'batch'; SELECT 10 / (quantity - 3) AS q FROM sales;"""
    status, out, told = _run(environment, "-i", str(tmp_path / "tables.sql"), typed=typed)
    assert status == 0 and len([line for line in out.splitlines() if line.startswith("|")]) == 1 + 7
    assert "[WARNING] 1 too far in the future, 1 unreadable, 1 failed; the first: sales[0] offset 0: " in told


def test_a_script_waits_for_the_jobs_that_it_starts(
    broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path
) -> None:
    _sell(broker, range(10))
    typed = "SET 'execution.runtime-mode' = 'batch'; INSERT INTO large SELECT user_id, quantity FROM sales;"
    status, _, told = _run(environment, "-i", str(tmp_path / "tables.sql"), typed=typed)
    assert status == 0, told
    assert len(_written(broker)) == 10


def test_a_reader_that_has_gone_ends_it(broker: EmbeddedBroker, environment: dict[str, str], tmp_path: Path) -> None:
    _sell(broker, range(20), partition=0)  # they come at once, and no row follows that could not be written
    command = " ".join([*COMMAND, "-i", str(tmp_path / "tables.sql"), "-e", "'SELECT * FROM sales'"]) + " | head -5"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert len(ended.stdout.splitlines()) == 5
    assert "Traceback" not in ended.stderr and "BrokenPipe" not in ended.stderr


def test_a_broker_that_is_not_there_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    given = {**environment, "ANOMALY_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    status, _, told = _run(given, "-i", str(tmp_path / "tables.sql"), "-e", "SELECT * FROM sales")
    assert status == 2
    assert "[ERROR] no broker answers at kafka.bootstrap_servers (from environment" in told
