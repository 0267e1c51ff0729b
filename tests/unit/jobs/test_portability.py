"""What ``anomaly check`` says of Flink; ``tests/flink`` tries the same on Flink itself."""

from __future__ import annotations

from importlib import resources

import pytest

from anomaly_app import SqlSyntaxError, SqlValidationError
from anomaly_app.cli import main
from anomaly_app.jobs.binder import bind_job

TABLES = """
CREATE TABLE s (u STRING, q INT, ts TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
    'connector' = 'kafka', 'topic' = 's', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
CREATE TABLE two (a TIMESTAMP(3), b TIMESTAMP(3)) WITH (
    'connector' = 'kafka', 'topic' = 'two', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
CREATE TABLE latest (u STRING, q INT, PRIMARY KEY (u) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = 'l', 'properties.bootstrap.servers' = 'x:1',
    'key.format' = 'json', 'value.format' = 'json');
"""


def refused(sql: str) -> tuple[str, ...]:
    job = bind_job(TABLES + sql, name="job")
    assert job.warnings == ()
    return job.refused_by_flink


def test_two_event_times_are_one_too_many() -> None:
    (said,) = refused("INSERT INTO two SELECT ts, ts AS b FROM s")
    assert said.startswith("ts and b of the INSERT INTO two are event-time attributes, one is allowed: CAST")
    assert refused("INSERT INTO two SELECT a, b FROM (SELECT ts AS a, ts AS b FROM s)") != ()
    assert refused("INSERT INTO two SELECT ts, CAST(ts AS TIMESTAMP(3)) FROM s") == ()
    off = "SET 'table.exec.sink.rowtime-inserter' = 'DISABLED';"
    assert refused(f"{off} INSERT INTO two SELECT ts, ts AS b FROM s") == ()


def test_a_setting_holds_for_the_statements_behind_it() -> None:
    insert = "INSERT INTO two SELECT ts, ts AS b FROM s;"
    assert len(refused(f"{insert} SET 'table.exec.sink.rowtime-inserter' = 'DISABLED'; {insert}")) == 1


def test_rows_that_are_not_unique_by_the_primary_key_need_a_word_about_conflicts() -> None:
    insert = "INSERT INTO latest SELECT u, q FROM s"
    (said,) = refused(insert)
    assert "primary key (u) of latest: write ON CONFLICT DO DEDUPLICATE" in said
    assert refused(f"{insert} WHERE q > 1 ON CONFLICT DO DEDUPLICATE;") == ()
    assert refused(f"SET 'table.exec.sink.require-on-conflict' = 'false'; {insert}") == ()
    assert len(refused(f"SET 'table.exec.sink.require-on-conflict' = 'true'; {insert}")) == 1


@pytest.mark.parametrize("action", ["ERROR", "NOTHING"])
def test_other_ways_to_settle_a_conflict_are_refused_by_name(action: str) -> None:
    with pytest.raises(SqlValidationError, match=rf"ON CONFLICT DO {action} is not supported.*DO DEDUPLICATE"):
        refused(f"INSERT INTO latest SELECT u, q FROM s ON CONFLICT DO {action}")
    with pytest.raises(SqlSyntaxError, match="DEDUPLICATE"):
        refused("INSERT INTO latest SELECT u, q FROM s ON CONFLICT DO SOMETHING")


def test_check_says_so_of_the_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = resources.files("anomaly_app").joinpath("jobs")
    assert main(["check", str(jobs.joinpath("unusual_sales.sql")), str(jobs.joinpath("unusual_orders.sql"))]) == 0
    out = capsys.readouterr().out
    assert "Flink 2.3 refuses this: several rows may have the same primary key (user_id)" in out
    assert "Flink 2.3 refuses this: it has no ML_DETECT_ANOMALIES" in out


LOOKUP = """
CREATE TABLE f (u STRING, n INT) WITH ('connector' = 'filesystem', 'path' = 'f.csv', 'format' = 'csv');
CREATE TABLE p (u STRING, pt AS PROCTIME()) WITH ('connector' = 'kafka', 'topic' = 'p', 'format' = 'json');
CREATE TABLE o (u STRING) WITH ('connector' = 'kafka', 'topic' = 'o', 'format' = 'json');
INSERT INTO o SELECT p.u FROM p JOIN f FOR SYSTEM_TIME AS OF
"""


def test_flink_looks_up_in_other_tables() -> None:
    (looks,) = refused(f"{LOOKUP} p.pt ON f.u = p.u")
    assert looks.startswith("it looks up neither in files nor in compacted topics: f needs another connector")
    _, call = refused(f"{LOOKUP} PROCTIME() ON f.u = p.u")
    assert call.startswith("FOR SYSTEM_TIME AS OF takes no PROCTIME() there, only a column: declare one")


def test_an_option_of_our_own_is_none_of_flinks() -> None:
    text = TABLES.replace("'topic' = 's',", "'topic' = 's', 'value.null' = 'skip',")
    job = bind_job(text + "INSERT INTO two SELECT ts, CAST(NULL AS TIMESTAMP(3)) FROM s", name="job")
    assert job.refused_by_flink == ("table s: it has no option 'value.null'",)
    text = TABLES.replace("'topic' = 's',", "'topic' = 's', 'scan.watermark.idle-clock' = 'true',")
    job = bind_job(text + "INSERT INTO two SELECT ts, CAST(NULL AS TIMESTAMP(3)) FROM s", name="job")
    assert job.refused_by_flink == ("table s: it has no option 'scan.watermark.idle-clock'",)


def test_rows_under_another_key_need_a_word_on_conflicts() -> None:
    upsert = "'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = 'x:1', 'key.format' = 'json', "
    columns = "u STRING, q INT, PRIMARY KEY (u) NOT ENFORCED"
    source = f"CREATE TABLE k ({columns}) WITH ({upsert} 'value.format' = 'json', 'topic' = 'k');"
    assert refused(source + "INSERT INTO latest SELECT u, q FROM k") == ()
    (said,) = refused(source + "INSERT INTO latest SELECT UPPER(u), q FROM k")
    assert said.startswith("several rows may have the same primary key (u) of latest")
    assert refused(source + "INSERT INTO latest SELECT UPPER(u), q FROM k ON CONFLICT DO DEDUPLICATE") == ()
