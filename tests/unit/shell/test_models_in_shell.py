"""Models, CREATE TABLE AS and statements that a comment ends, in the shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_thread import ModelThread

from anomaly_app.errors import SqlError
from anomaly_app.settings import load_settings
from anomaly_app.shell.remarks import heard
from anomaly_app.shell.shell import Shell
from anomaly_app.shell.terminal import Terminal


def test_statements_one_after_the_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told: list[str] = []
    with ModelThread(key="k-1") as server, heard(told.append) as remarks:
        settings = load_settings({"connections.c.endpoint": server.url, "connections.c.api_key": "k-1"}, environ={})
        shell = Shell(settings, Terminal(interactive=False), remarks, json=True)
        shell.run(
            """
            CREATE TABLE t (a INT, b DOUBLE) -- rows in memory
            INSERT INTO t VALUES (1, 0.5), (2, 1.5);
            CREATE CONNECTION d WITH ('type' = 'azureml', 'endpoint' = 'http://nowhere', 'api-key' = 'sk-9');
            CREATE MODEL m INPUT (a INT, b DOUBLE) OUTPUT (s DOUBLE)
            WITH ('provider' = 'azureml', 'azureml.connection' = 'c') -- and at once
            CREATE TABLE u AS SELECT a, s FROM t, LATERAL TABLE(ML_PREDICT('m', a, b)) -- all of it
            SELECT a, s FROM u;
            SHOW MODELS;
            DESCRIBE CONNECTION c;
            """
        )
    out = capsys.readouterr().out
    assert '{"a": 1, "s": 1.5}' in out or '{"a":1,"s":1.5}' in out
    assert "k-1" not in out and "sk-9" not in out
    assert any("'api-key' of d is written in the SQL" in line for line in told)


def test_a_table_that_cannot_be_filled_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with heard(print) as remarks:
        shell = Shell(load_settings(environ={}), Terminal(interactive=False), remarks)
        shell.run("CREATE TABLE t (a INT)")
        with pytest.raises(SqlError, match="unknown column 'z'"):
            shell.run("CREATE TABLE u AS SELECT z FROM t")
        shell.run("CREATE TABLE u (b INT)")
