"""What the shell prints is what Flink 2.3 printed, by ``TableResult.print()``, for the same statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app.settings import load_settings
from anomaly_app.shell.remarks import Remarks
from anomaly_app.shell.shell import Shell
from anomaly_app.shell.terminal import Terminal

PRINTED = [
    part.partition("\n")[::2]
    for part in Path(__file__).with_name("printed_by_flink.txt").read_text("utf-8").strip().split("\n\n")
]
TABLE = "CREATE TABLE tt (a INT, b TIMESTAMP(3), WATERMARK FOR b AS b)"


@pytest.mark.parametrize(("statements", "printed"), PRINTED, ids=[statements[:20] for statements, _ in PRINTED])
def test_a_table_looks_as_in_flink(
    statements: str, printed: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shell = Shell(load_settings(environ={}), Terminal(interactive=False), Remarks(print))
    shell.run(TABLE)
    capsys.readouterr()
    shell.run(statements)
    assert capsys.readouterr().out.strip() == printed.strip()
