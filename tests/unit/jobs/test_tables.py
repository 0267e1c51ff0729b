"""CREATE TABLE to sources and sinks: the tutorial's tables, and every way to get one wrong."""

from __future__ import annotations

import pytest

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.ranges import Begin, End, Startup, Stop
from anomaly_app.jobs.tables import bind_schema, bind_sink, bind_source
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.schema import Changelog, Origin
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable

SALES = """CREATE TABLE SalesRecordTable (
    invoice_id STRING,
    user_id STRING,
    product_id STRING,
    quantity STRING,
    unit_cost STRING,
    `purchase_time` TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR purchase_time AS purchase_time - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'flink.sales.records',
    'properties.bootstrap.servers' = 'my-cluster-kafka-bootstrap.flink.svc:9092',
    'properties.group.id' = 'sales-record-group',
    'value.format' = 'avro-confluent',
    'value.avro-confluent.url' = 'http://apicurio-registry-service.flink.svc:8080/apis/ccompat/v6',
    'scan.startup.mode' = 'latest-offset'
);"""

UNUSUAL = """CREATE TABLE UnusualSalesRecordTable (
    user_id STRING,
    unusual_quantity INT,
    unusual_tstamp TIMESTAMP(3),
    PRIMARY KEY (`user_id`) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka',
    'topic' = 'flink.unusual.sales.records.interactive',
    'properties.bootstrap.servers' = 'my-cluster-kafka-bootstrap.flink.svc:9092',
    'properties.client.id' = 'sql-cleaning-client',
    'properties.transaction.timeout.ms' = '800000',
    'key.format' = 'csv',
    'value.format' = 'csv',
    'value.fields-include' = 'ALL'
);"""


def create(text: str) -> CreateTable:
    statement = parse_statements(text)[0]
    assert isinstance(statement, CreateTable)
    return statement


def source(text: str) -> tuple[Source, list[str]]:
    warnings: list[str] = []
    return bind_source(create(text), text, warnings), warnings


def sink(text: str) -> tuple[Sink, list[str]]:
    warnings: list[str] = []
    return bind_sink(create(text), text, warnings), warnings


def table(options: str, columns: str = "a INT, b STRING") -> str:
    return f"CREATE TABLE t ({columns}) WITH (\n  {options}\n)"


KAFKA = "'connector' = 'kafka', 'topic' = 'x', 'format' = 'json'"
EVENTS = KAFKA.replace("json", "debezium-json")
UPSERT = "'connector' = 'upsert-kafka', 'topic' = 'x', 'key.format' = 'json', 'value.format' = 'json'"
KEYED = "a INT, b STRING, PRIMARY KEY (b) NOT ENFORCED"
SPECIFIC = KAFKA + ", 'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = "


def test_the_tutorials_source() -> None:
    bound, warnings = source(SALES)
    url = "http://apicurio-registry-service.flink.svc:8080/apis/ccompat/v6"
    assert warnings == []
    assert (bound.topic, bound.client["group.id"], bound.begin.mode) == (
        "flink.sales.records",
        "sales-record-group",
        Startup.LATEST,
    )
    assert bound.value_format == Format("avro-confluent", {"url": url})
    assert bound.key_format is None
    assert bound.value_fields == ("invoice_id", "user_id", "product_id", "quantity", "unit_cost")
    assert (bound.schema.rowtime, bound.schema.watermark_delay_ms) == ("purchase_time", 1000)
    time = bound.schema.columns[-1]
    assert (time.origin, time.field) == (Origin.METADATA, "timestamp")


def test_the_tutorials_sink() -> None:
    bound, warnings = sink(UNUSUAL)
    assert bound.upsert
    assert bound.key_fields == ("user_id",)
    assert bound.value_fields == ("user_id", "unusual_quantity", "unusual_tstamp")
    assert (bound.key_format, bound.value_format) == (Format("csv"), Format("csv"))
    assert not bound.columns[0].type.nullable
    assert [w.split("option ")[1].split("'")[1] for w in warnings] == [
        "properties.client.id",
        "properties.transaction.timeout.ms",
    ]


def test_key_columns_with_prefix() -> None:
    bound, _ = source(
        table(
            "'connector' = 'kafka', 'topic' = 'x', 'key.format' = 'raw', 'key.fields' = 'k_id', "
            "'key.fields-prefix' = 'k_', 'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'",
            "k_id STRING, id STRING",
        )
    )
    key, value = bound.schema.columns
    assert (key.origin, key.source_name) == (Origin.KEY, "id")
    assert (value.origin, value.source_name) == (Origin.VALUE, "id")
    assert bound.value_fields == ("id",)


def test_columns_in_key_and_value_are_read_from_the_value() -> None:
    bound, _ = source(
        table("'connector' = 'kafka', 'topic' = 'x', 'key.format' = 'raw', 'key.fields' = 'b', 'value.format' = 'json'")
    )
    assert [column.origin for column in bound.schema.columns] == [Origin.VALUE, Origin.VALUE]
    assert bound.key_fields == ("b",)


def test_processing_time() -> None:
    schema = bind_schema(create(text := table(KAFKA, "a INT, p AS PROCTIME()")), text)
    assert schema.proctime == "p"
    assert schema.columns[1].origin is Origin.PROCTIME


def test_startup_bound_and_idle_time() -> None:
    bound, _ = source(
        table(
            KAFKA + ", 'scan.startup.mode' = 'timestamp', 'scan.startup.timestamp-millis' = '17', "
            "'scan.bounded.mode' = 'latest-offset', 'scan.watermark.idle-timeout' = '30 s'"
        )
    )
    assert (bound.begin.mode, bound.begin.timestamp_ms) == (Startup.TIMESTAMP, 17)
    assert (bound.bounded, bound.idle_timeout_ms) == (True, 30_000)


def test_an_upsert_table_is_read_by_its_key_from_the_beginning() -> None:
    bound, warnings = source(table(UPSERT + ", 'scan.bounded.mode' = 'latest-offset'", KEYED))
    assert warnings == [] and bound.bounded and bound.begin.mode is Startup.EARLIEST
    assert bound.schema.changelog is Changelog.UPSERT and bound.schema.primary_key == ("b",)
    assert [column.origin for column in bound.schema.columns] == [Origin.VALUE, Origin.KEY]
    assert bound.key_fields == ("b",) and bound.value_fields == ("a", "b")
    short, _ = source(
        table(
            UPSERT + ", 'value.fields-include' = 'EXCEPT_KEY', 'key.fields-prefix' = 'k_'",
            "k_b STRING, b INT, PRIMARY KEY (k_b) NOT ENFORCED",
        )
    )
    assert short.schema.columns[0].source_name == "b" and short.value_fields == ("b",)


def test_the_tutorials_sink_can_be_read() -> None:
    bound, _ = source(UNUSUAL)
    assert bound.schema.primary_key == ("user_id",)


def test_a_table_of_events_changes_with_and_without_a_primary_key() -> None:
    for columns in ("a INT, b STRING", KEYED):
        bound, _ = source(table(EVENTS + ", 'debezium-json.schema-include' = 'true'", columns))
        assert bound.schema.changelog is Changelog.ALL
        assert bound.value_format == Format("debezium-json", {"schema-include": "true"})


def test_metadata_of_events() -> None:
    columns = "a INT, t STRING METADATA FROM 'value.source.table', m MAP<STRING, STRING> METADATA FROM "
    bound, _ = source(table(EVENTS, columns + "'value.source.properties', o BIGINT METADATA FROM 'offset'"))
    fields = [column.field for column in bound.schema.columns]
    assert fields == [None, "value.source.table", "value.source.properties", "offset"]


def test_offsets_and_ends() -> None:
    begins, _ = source(table(SPECIFIC + "'partition:0,offset:42;partition:1,offset:300'"))
    assert begins.begin == Begin(Startup.OFFSETS, None, {0: 42, 1: 300}) and not begins.bounded
    stop = ", 'scan.bounded.mode' = "
    at_offset, _ = source(
        table(KAFKA + stop + "'specific-offsets', 'scan.bounded.specific-offsets' = 'partition:0,offset:5'")
    )
    assert at_offset.end == End(Stop.OFFSETS, None, {0: 5}) and at_offset.bounded
    at_time, _ = source(table(KAFKA + stop + "'timestamp', 'scan.bounded.timestamp-millis' = '7'"))
    assert at_time.end == End(Stop.TIMESTAMP, 7)


def test_null_values_may_be_let_go() -> None:
    assert source(table(KAFKA + ", 'value.null' = 'skip'"))[0].skips_nulls
    assert not source(table(KAFKA))[0].skips_nulls


def test_event_time_may_go_by_the_clock_while_nothing_comes() -> None:
    timed = "a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts"
    assert source(table(KAFKA + ", 'scan.watermark.idle-clock' = 'true'", timed))[0].idle_clock
    assert not source(table(KAFKA, timed))[0].idle_clock


def test_tables_for_trying_out() -> None:
    printed, _ = sink(table("'connector' = 'print', 'print-identifier' = 'x', 'standard-error' = 'true'"))
    assert (printed.topic, printed.label, printed.to_stderr, printed.takes_changes) == ("", "x", True, True)
    nowhere, _ = sink(table("'connector' = 'blackhole'"))
    assert nowhere.topic == "" and nowhere.takes_changes


def test_which_tables_take_rows_back() -> None:
    told = {
        options: sink(table(options, KEYED if "upsert" in options else "a INT"))[0]
        for options in (KAFKA, EVENTS, UPSERT)
    }
    assert [bound.takes_changes for bound in told.values()] == [False, True, True]


def test_security_and_client_options_give_one_warning_each_and_never_a_value() -> None:
    _, warnings = source(
        table(
            KAFKA + ", 'properties.security.protocol' = 'SASL_SSL', "
            "'properties.sasl.jaas.config' = 'hush', 'properties.ssl.truststore.password' = 'hush', "
            "'properties.bootstrap.server' = 'b:1', 'sink.partitioner' = 'fixed'"
        )
    )
    assert len(warnings) == 5
    assert sum("settings" in warning for warning in warnings) == 3
    assert any("did you mean 'properties.bootstrap.servers'?" in warning for warning in warnings)
    assert not any("hush" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        (table(KAFKA + ",\n  'scan.startup.mod' = 'x'"), "did you mean 'scan.startup.mode'?", "'scan.startup.mod'"),
        (table(KAFKA + ",\n  'json.ignore-parse-error' = 'true'"), "'json.ignore-parse-errors'?", "'json.ignore"),
        (table(KAFKA.replace("json", "jsn")), "did you mean 'json'?", "'format'"),
        (table(KAFKA.replace("'kafka'", "'kafak'")), "did you mean 'kafka'?", "'connector'"),
        (table(KAFKA.replace("'topic' = 'x', ", "")), "option 'topic' is missing", "CREATE"),
        (table(KAFKA.replace("'x'", "'x;no blanks'")), "'no blanks' is not a topic name", "'topic'"),
        (table(KAFKA.replace("'x'", "'x;y;x'")), "'x' is there twice", "'topic'"),
        (table(KAFKA.replace("'x'", "'no blanks'")), "is not a topic name", "'topic'"),
        (table("'connector' = 'kafka', 'topic' = 'x'"), "'value.format' is missing", "CREATE"),
        (table(KAFKA + ", 'value.format' = 'csv'"), "say the same", "'format'"),
        (table(KAFKA + ", 'topic' = 'y'"), "there twice", "'topic' = 'y'"),
        (table(KAFKA + ", 'topic-pattern' = 'y'"), "give one of them", "'topic-pattern'"),
        (
            table(KAFKA.replace("'topic' = 'x'", "'topic-pattern' = '['")),
            "is not a regular expression",
            "'topic-pattern'",
        ),
        (table(KAFKA + ", 'value.null' = 'drop'"), "must be one of 'fail', 'skip'", "'value.null'"),
        (table(KAFKA.replace("json", "debezium-json") + ", 'value.null' = 'skip'"), "has a meaning", "'value.null'"),
        (table(SPECIFIC + "'partition:0;offset:1'"), "must be like 'partition:0,offset:42", "'scan.startup.spec"),
        (table(SPECIFIC + "'partition:0,offset:1;partition:0,offset:2'"), "must be like", "'scan.startup.spec"),
        (table(KAFKA + ", 'scan.startup.mode' = 'specific-offsets'"), "need each other", "'scan.startup.mode'"),
        (table(KAFKA + ", 'scan.startup.specific-offsets' = 'x'"), "need each other", "'scan.startup.spec"),
        (table(SPECIFIC.replace("'x'", "'x;y'") + "'partition:0,offset:1'"), "of one topic", "'scan.startup.mode'"),
        (table(KAFKA + ", 'scan.bounded.mode' = 'group-offsets'"), "where this worker stands", "'scan.bounded.mode'"),
        (table(KAFKA + ", 'scan.bounded.mode' = 'timestamp'"), "need each other", "'scan.bounded.mode'"),
        (table(KAFKA + ", 'scan.bounded.timestamp-millis' = '1'"), "need each other", "'scan.bounded.timestamp"),
        (
            table(KAFKA + ", 'scan.bounded.mode' = 'specific-offset'"),
            "did you mean 'specific-offsets'?",
            "'scan.bounded",
        ),
        (table("'connector' = 'print'"), "can be written, not read", "'connector'"),
        (table(UPSERT, "a INT, b STRING"), "needs a PRIMARY KEY", "'connector'"),
        (table(UPSERT.replace("'key.format' = 'json', ", ""), KEYED), "'key.format' is missing", "CREATE"),
        (
            table(UPSERT.replace("'value.format' = 'json'", "'value.format' = 'debezium-json'"), KEYED),
            "of changes",
            "'value",
        ),
        (
            table(UPSERT.replace("'key.format' = 'json'", "'key.format' = 'debezium-json'"), KEYED),
            "of changes",
            "'key.f",
        ),
        (
            table(UPSERT + ", 'scan.startup.mode' = 'latest-offset'", KEYED),
            "unknown option 'scan.startup.mode'",
            "'scan",
        ),
        (table(UPSERT + ", 'value.null' = 'skip'", KEYED), "unknown option 'value.null'", "'value.null'"),
        (table(KAFKA, "a INT, t STRING METADATA FROM 'value.source.table'"), "of the format 'debezium-json'", "t STR"),
        (table(EVENTS, "a INT, t STRING METADATA FROM 'source.table'"), "did you mean 'value.source.table'?", "t STR"),
        (table(EVENTS, "a INT, t INT METADATA FROM 'value.source.table'"), "cannot be read as INT", "t INT"),
        (table(KAFKA + ", 'key.format' = 'csv'"), "needs 'key.fields'", "'key.format'"),
        (table(KAFKA + ", 'key.format' = 'csv', 'key.fields' = 'aa'"), "did you mean 'a'?", "'key.fields'"),
        (table(KAFKA + ", 'key.fields' = 'a'"), "needs a 'key.format'", "'key.fields'"),
        (table(KAFKA + ", 'key.format' = 'raw', 'key.fields' = 'a;b'"), "is for one column", "'key.format'"),
        (table(KAFKA + ", 'scan.startup.mode' = 'timestamp'"), "need each other", "'scan.startup.mode'"),
        (table(KAFKA + ", 'scan.watermark.idle-timeout' = 'soon'"), "must be a duration", "'scan.watermark"),
        (table(KAFKA + ", 'scan.watermark.idle-clock' = 'true'"), "is for a table with a WATERMARK", "'scan.watermark"),
        (table(KAFKA + ", 'scan.watermark.idle-clock' = 'yes'"), "must be one of 'false', 'true'", "'scan.watermark"),
        (table(KAFKA.replace("json", "csv") + ", 'csv.field-delimiter' = 'ab'"), "single character", "'csv.field"),
        (table(KAFKA + ", 'json.timestamp-format.standard' = 'ISO'"), "must be one of", "'json.timestamp"),
        (table(KAFKA, "a INT, a STRING"), "there twice", "a STRING"),
        (table(KAFKA, "a INT, h STRING METADATA FROM 'headers'"), "use MAP<STRING, BYTES>", "h STRING"),
        (table(KAFKA, "a INT, h STRING METADATA FROM 'ofset'"), "did you mean 'offset'?", "h STRING"),
        (table(KAFKA, "a INT, h INT METADATA FROM 'timestamp'"), "cannot be read as INT", "h INT"),
        (table(KAFKA, "a INT, l INT METADATA FROM 'leader-epoch'"), "is not supported", "l INT"),
        (table(KAFKA, "ts TIMESTAMP(6), WATERMARK FOR ts AS ts"), "must be TIMESTAMP(3)", "WATERMARK"),
        (table(KAFKA, "ts TIMESTAMP(3), WATERMARK FOR t AS t"), "did you mean ts?", "WATERMARK"),
        (
            table(KAFKA, "ts TIMESTAMP(3), WATERMARK FOR ts AS ts + INTERVAL '1' SECOND"),
            "1000 ms ahead of the rows",
            "ts + ",
        ),
        (table(KAFKA, "a INT, PRIMARY KEY (a) NOT ENFORCED"), "format 'json', whose rows only come", "CREATE"),
        (table(KAFKA, "a INT, PRIMARY KEY (b) NOT ENFORCED"), "must be a plain column", "CREATE"),
        (table(KAFKA.replace("json", "csv"), "a INT, m MAP<STRING, INT>"), "CSV cannot hold MAP", "m MAP"),
        (table(KAFKA, "a INT, m MAP<INT, INT>"), "keys of a text type", "m MAP"),
        (table(KAFKA.replace("json", "avro-confluent"), "a INT, m MAP<INT, INT>"), "Avro cannot hold MAP", "m MAP"),
        (table(KAFKA.replace("json", "raw"), "d DATE"), "'raw' cannot hold DATE", "d DATE"),
        (
            table(KAFKA.replace("json", "avro-confluent") + ", 'avro-confluent.schema' = '{'", "a INT"),
            "not a schema",
            "a INT",
        ),
    ],
)
def test_wrong_sources_are_refused_where_they_are_wrong(text: str, problem: str, place: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        source(text)
    assert problem in str(caught.value)
    assert text[caught.value.start :].startswith(place)
    assert str(caught.value).startswith(f"line {caught.value.line}, column {caught.value.column}: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (UNUSUAL.replace("'key.format' = 'csv',", ""), "'key.format' is missing"),
        (UNUSUAL.replace("PRIMARY KEY (`user_id`) NOT ENFORCED", "x INT"), "needs a PRIMARY KEY"),
        (UNUSUAL.replace("'key.format'", "'scan.startup.mode' = 'latest-offset', 'key.format'"), "unknown option"),
        (table(KAFKA, "a INT, PRIMARY KEY (a) NOT ENFORCED"), "needs 'connector' = 'upsert-kafka'"),
        (table(KAFKA, "a INT, ts TIMESTAMP(3) METADATA FROM 'timestamp'"), "declare it VIRTUAL"),
        (table(KAFKA.replace("'x'", "'x;y'")), "has one topic, not a list"),
        (table(KAFKA.replace("'topic' =", "'topic-pattern' =")), "a table that is written has one 'topic'"),
        (table(EVENTS + ", 'debezium-json.schema-include' = 'true'"), "written without their schema"),
        (table("'connector' = 'print', 'standard-error' = 'yes'"), "must be one of 'true', 'false'"),
    ],
)
def test_wrong_sinks_are_refused(text: str, problem: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        sink(text)
    assert problem in str(caught.value)


def test_virtual_metadata_and_processing_time_are_not_written() -> None:
    bound, _ = sink(table(KAFKA, "a INT, o BIGINT METADATA FROM 'offset' VIRTUAL, p AS PROCTIME()"))
    assert [column.name for column in bound.columns] == ["a"]
    assert bound.value_fields == ("a",)
    assert bound.key_format is None
