"""Brokers, group and isolation level: what settings and tables say, and which of it counts."""

from __future__ import annotations

import pytest

from anomaly_app.errors import SettingsError, SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.precedence import settle
from anomaly_app.settings import LoadedSettings, load_settings

QUERY = "INSERT INTO found SELECT a FROM sales;"


def job(source: str = "", sink: str = "", name: str = "job") -> Job:
    text = (
        f"CREATE TABLE sales (a INT) WITH ('connector' = 'kafka', 'topic' = 's', 'format' = 'json'{source});"
        f"CREATE TABLE found (a INT) WITH ('connector' = 'kafka', 'topic' = 'f', 'format' = 'json'{sink});"
    )
    return bind_job(text + QUERY, name=name)


def option(name: str, value: str) -> str:
    return f", 'properties.{name}' = '{value}'"


def loaded(**given: str) -> LoadedSettings:
    return load_settings({key.replace("__", "."): value for key, value in given.items()}, environ={})


def servers(*tables: str) -> list[str]:
    return [option("bootstrap.servers", table) for table in tables]


def test_without_a_setting_the_brokers_of_the_tables_count() -> None:
    settled = settle(loaded(), [job(*servers("one:1,two:2", "two:2, one:1"))])
    assert settled.loaded.settings.kafka.bootstrap_servers == "one:1,two:2"
    assert settled.loaded.origins["kafka.bootstrap_servers"] == "table sales (job job)"
    assert settled.warning == ""


def test_nobody_says_where_kafka_is() -> None:
    settled = settle(loaded(), [job()])
    kafka = settled.loaded.settings.kafka
    assert (kafka.bootstrap_servers, kafka.isolation_level) == ("localhost:9092", "read_uncommitted")
    assert settled.warning == ""


@pytest.mark.parametrize(
    "jobs",
    [
        [job(*servers("one:1", "two:2"))],
        [job(*servers("one:1")), job(*servers("two:2"), name="second")],
    ],
)
def test_tables_that_do_not_agree_are_both_named(jobs: list[Job]) -> None:
    with pytest.raises(SettingsError) as caught:
        settle(loaded(), jobs)
    assert caught.value.key == "kafka.bootstrap_servers"
    assert "'one:1' in sales (job job)" in str(caught.value)
    assert "'two:2' in " in str(caught.value)
    used = settle(loaded(kafka__bootstrap_servers="three:3"), jobs)
    assert used.loaded.settings.kafka.bootstrap_servers == "three:3"
    assert "'one:1'" in used.warning and "'two:2'" in used.warning


def test_an_address_of_a_job_that_is_none_is_an_error_only_if_it_counts() -> None:
    with pytest.raises(SettingsError, match=r"from table sales \(job job\).*'kafka' should be host:port"):
        settle(loaded(), [job(*servers("kafka"))])
    assert settle(loaded(kafka__bootstrap_servers="a:1"), [job(*servers("kafka"))]).warning


def test_what_does_not_count_is_told_once_with_what_does() -> None:
    said = option("bootstrap.servers", "theirs:1") + option("group.id", "their-group")
    settled = settle(
        loaded(kafka__bootstrap_servers="ours:2", worker__app_id="our-app"), [job(said, *servers("theirs:1"))]
    )
    assert settled.warning == (
        "of tables sales (job job), found (job job), 'properties.bootstrap.servers' = 'theirs:1' is not used: "
        "kafka.bootstrap_servers (from command line) is 'ours:2'; of table sales (job job), 'properties.group.id' = "
        "'their-group' is not used: worker.app_id (from command line) is 'our-app'"
    )


def test_no_warning_if_the_settings_say_the_same() -> None:
    said = option("bootstrap.servers", "one:1") + option("group.id", "g") + option("isolation.level", "read_committed")
    given = {"kafka__bootstrap_servers": "one:1", "kafka__group_id": "g", "kafka__isolation_level": "read_committed"}
    assert settle(loaded(**given), [job(said)]).warning == ""


def test_the_isolation_level_of_a_table_counts_unless_the_settings_say_another() -> None:
    committed = job(option("isolation.level", "read_committed"))
    assert settle(loaded(), [committed]).loaded.settings.kafka.isolation_level == "read_committed"
    assert settle(loaded(), [committed, job(name="quiet")]).loaded.settings.kafka.isolation_level == "read_committed"
    settled = settle(loaded(kafka__isolation_level="read_uncommitted"), [committed])
    assert settled.loaded.settings.kafka.isolation_level == "read_uncommitted"
    assert "'properties.isolation.level' = 'read_committed' is not used: kafka.isolation_level" in settled.warning
    other = job(option("isolation.level", "read_uncommitted"), name="other")
    with pytest.raises(SettingsError, match=r"kafka\.isolation_level .*sales \(job job\).*sales \(job other\)"):
        settle(loaded(), [committed, other])


def test_an_isolation_level_that_does_not_exist() -> None:
    with pytest.raises(SqlValidationError, match=r"did you mean 'read_committed'"):
        job(option("isolation.level", "read_commited"))


@pytest.mark.parametrize(
    ("source", "sink", "told"),
    [
        ("", option("isolation.level", "read_committed"), "table found: option 'properties.isolation.level' is not"),
        ("", option("acks", "0"), "'properties.acks' is not used: every record is written with acks = all"),
        (option("session.timeout.ms", "1"), "", "'properties.session.timeout.ms' is not used: it is kafka.session_"),
        (option("interceptor.classes", "x.Y"), "", "'properties.interceptor.classes' is not used: Java classes"),
        ("", option("transactional.id", "x"), "'properties.transactional.id' is not used: results are written"),
        (
            "",
            option("auto.offset.reset", "latest"),
            "'properties.auto.offset.reset' is not used: it counts for a table",
        ),
        (
            option("auto.offset.reset", "latest") + ", 'scan.startup.mode' = 'earliest-offset'",
            "",
            "'properties.auto.offset.reset' is not used: 'scan.startup.mode' = 'earliest-offset' says where to begin",
        ),
    ],
)
def test_properties_that_would_matter_are_warned_of_by_name(source: str, sink: str, told: str) -> None:
    (warning,) = job(source, sink).warnings
    assert told in warning


def test_where_a_group_without_an_offset_begins() -> None:
    resets = [job(option("auto.offset.reset", value)).plans[0].source.begin.reset for value in ("latest", "none")]
    assert [*resets, job().plans[0].source.begin.reset] == ["latest", "none", "earliest"]
    with pytest.raises(SqlValidationError, match="'earliest', 'latest', 'none'"):
        job(option("auto.offset.reset", "smallest"))
