"""A job file as statements for Flink: its own are unchanged, what belongs to the place is set beside them."""

from __future__ import annotations

import pytest

from anomaly_app.testing.flink import FlinkError, statements_for_flink

JOB = """
SET 'table.exec.state.ttl' = '1 h';
CREATE TABLE `c`.`d`.`the ``t``` (a STRING -- it's; odd
) WITH ('connector' = 'kafka', 'topic' = 't', 'value.format' = 'avro-confluent',
    'value.avro-confluent.url' = 'http://far', 'scan.startup.mode' = 'latest-offset');
CREATE TABLE u (a STRING, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector' = 'upsert-kafka', 'topic' = 'u');
CREATE TABLE p (a STRING) WITH ('connector' = 'print');
EXECUTE STATEMENT SET BEGIN
INSERT INTO u SELECT ';' || a FROM `c`.`d`.`the ``t```ON CONFLICT DO DEDUPLICATE;
END;
"""


def test_the_statements_of_a_file_are_unchanged() -> None:
    found = statements_for_flink(JOB, servers="here:1")
    own = [statement for statement in found if statement in JOB]
    assert [statement.split()[0] for statement in own] == ["SET", "CREATE", "CREATE", "CREATE", "INSERT"]
    assert own[-1].endswith("ON CONFLICT DO DEDUPLICATE")
    assert own[1].endswith("'latest-offset')")


def test_the_place_is_set_behind_each_kafka_table() -> None:
    found = statements_for_flink(JOB, servers="here:1", registry="http://it's", settings={"a": "b"})
    assert "SET 'a' = 'b'" in found[: found.index("SET 'table.exec.state.ttl' = '1 h'")]
    made, within, create, first = found[-8:-4]
    assert made == "CREATE CATALOG IF NOT EXISTS `c` WITH ('type' = 'generic_in_memory')"
    assert within == "CREATE DATABASE IF NOT EXISTS `c`.`d`"
    assert create.startswith("CREATE TABLE")
    assert first == (
        "ALTER TABLE `c`.`d`.`the ``t``` SET ('properties.bootstrap.servers' = 'here:1', "
        "'value.avro-confluent.url' = 'http://it''s', 'scan.startup.mode' = 'earliest-offset', "
        "'scan.bounded.mode' = 'latest-offset')"
    )
    ends = "'scan.bounded.mode' = 'latest-offset'"
    assert found[-3] == f"ALTER TABLE `u` SET ('properties.bootstrap.servers' = 'here:1', {ends})"
    live = statements_for_flink(JOB, servers="here:1", bounded=False)
    assert live[-3] == "ALTER TABLE `u` SET ('properties.bootstrap.servers' = 'here:1')"


def test_options_of_the_caller_come_first() -> None:
    options = {"p": {"print-identifier": "x"}, "u": {"properties.bootstrap.servers": "there:2"}}
    found = statements_for_flink(JOB, servers="here:1", options=options, bounded=False)
    assert "ALTER TABLE `p` SET ('print-identifier' = 'x')" in found
    assert "ALTER TABLE `u` SET ('properties.bootstrap.servers' = 'there:2')" in found


def test_a_select_without_a_sink_is_refused() -> None:
    with pytest.raises(FlinkError, match="no place to write to"):
        statements_for_flink("SELECT a FROM t", servers="here:1")
