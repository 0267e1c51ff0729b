"""``anomaly query``, ``check`` and ``explain`` on windows."""

from __future__ import annotations

import csv
import io
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from anomaly_app.cli import main

JOB = files("anomaly_app.jobs").joinpath("unusual_transactions.sql")


def test_the_packaged_job_over_a_generated_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "transactions.csv"
    arguments = ["--records", "2000", "--rate", "2", "--start", "2026-01-01 09:00:00", "--output", str(path)]
    assert main(["generate", "transactions", *arguments]) == 0
    capsys.readouterr()
    with as_file(JOB) as job:
        assert main(["query", str(job), "--table", f"transactions={path}", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) > 5 and all(row["alert"].startswith(f"ANOMALY DETECTED: User {row['userId']} ") for row in rows)


def test_check_says_what_the_windows_are(capsys: pytest.CaptureFixture[str]) -> None:
    with as_file(JOB) as job:
        assert main(["check", str(job)]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith(
        "windows of 5 minutes by userId, if MAX(amount) > MIN(amount) and max_amount > threshold AND row_count >= 3"
    )


WORDS = [
    ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY, INTERVAL '6' HOUR)", "windows of 1 day, 6 hours off the grid"),
    ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)", "windows of 1 hour, one every 1 minute"),
    (
        "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY)",
        "windows that grow by 1 hour up to 1 day",
    ),
    (
        "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1.5' SECOND)",
        "sessions, which end when no row comes for 1500 milliseconds",
    ),
]


@pytest.mark.parametrize(("windows", "words"), WORDS)
def test_explain_says_it_in_words(windows: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"""CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);
        SELECT k, MEDIAN(v) AS m FROM TABLE({windows}) WHERE v > 0
        GROUP BY k, window_start, window_end HAVING COUNT(*) > 2"""
    assert main(["explain", text, "--source"]) == 0
    told = capsys.readouterr().out
    assert f"  - puts it into {words}, over ts;\n" in told
    assert "Takes each row where v > 0:" in told
    assert "  - gives one row for each k and window, when the watermark passes the end of the window;\n" in told
    assert "  - keeps it only if COUNT(*) > 2.\n" in told
    assert "of each open group its last row and what its aggregates need; no other rows" in told
    assert "Generated: groups" in told and "def update(rows, known, begin, failed):" in told
