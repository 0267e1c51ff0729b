"""WITH options: values, defaults, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from anomaly_app import SqlValidationError
from anomaly_app.jobs.options import TableOptions

OPTIONS = {"json": frozenset({"fail-on-missing-field"}), "csv": frozenset({"field-delimiter"})}


def options(**values: str) -> TableOptions:
    named = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
    text = "\n".join(f"'{key}' = '{value}'" for key, value in named.items())
    spans = {key: (text.index(f"'{key}'"), text.index(f"'{key}'") + len(key) + 2) for key in named}
    return TableOptions("t", named, {**spans, "": (0, 1)}, text, OPTIONS.__getitem__, tuple(OPTIONS))


def test_a_missing_option_is_named():
    with pytest.raises(SqlValidationError, match=r"table t: option 'topic' is missing \(where to read\)"):
        options(connector="kafka").require("topic", "where to read")


def test_one_of_some_values():
    assert options(mode="a").one_of("mode", ("a", "b")) == "a"
    assert options().one_of("mode", ("a", "b"), "b") == "b"
    with pytest.raises(SqlValidationError, match=r"'mode' is 'earlest': it must be one of .*did you mean 'earliest'"):
        options(mode="earlest").one_of("mode", ("earliest", "latest"))


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("250", 250), ("30 s", 30_000), ("5min", 300_000), ("2 h", 7_200_000), ("1 d", 86_400_000)],
)
def test_durations(text, milliseconds):
    assert options(idle=text).duration_ms("idle") == milliseconds


@pytest.mark.parametrize("text", ["soon", "3 parsecs", "-1 s", ""])
def test_what_is_no_duration(text):
    with pytest.raises(SqlValidationError, match="must be a duration such as '30 s'"):
        options(idle=text).duration_ms("idle")


def test_whole_numbers():
    assert options(n="12").whole_number("n") == 12 and options().whole_number("n") is None
    with pytest.raises(SqlValidationError, match="must be a whole number"):
        options(n="1.5").whole_number("n")


def test_formats_of_key_and_value():
    given = options(format="json", json__fail_on_missing_field="true", key__format="csv", key__csv__field_delimiter=";")
    assert given.format("value") == ("json", {"fail-on-missing-field": "true"})
    assert given.format("key") == ("csv", {"field-delimiter": ";"})
    assert options().format("key") is None


def test_unknown_options_are_refused_with_the_nearest_and_their_place():
    with pytest.raises(SqlValidationError, match=r"unknown option 'topik' .*did you mean 'topic'") as caught:
        options(connector="kafka", topik="x").validate()
    assert (caught.value.line, caught.value.column) == (2, 1)


def test_options_of_another_format_are_unknown():
    with pytest.raises(SqlValidationError, match=r"unknown option 'csv\.field-delimiter'"):
        options(connector="kafka", format="json", csv__field_delimiter=";").validate()


def test_options_without_meaning_are_warned_of():
    given = options(connector="kafka", scan__parallelism="4")
    given.validate()
    assert given.warnings == ["table t: option 'scan.parallelism' has no meaning here and is ignored"]


def test_a_buffer_of_upserts_needs_both_its_options_as_in_flink():
    given = {"connector": "upsert-kafka", "sink__buffer_flush__max_rows": "100"}
    with pytest.raises(SqlValidationError, match=r"'sink\.buffer-flush.max-rows' needs 'sink.buffer-flush.interval'"):
        options(**given).validate()
    both = options(**given, sink__buffer_flush__interval="1 s")
    both.validate()
    assert len(both.warnings) == 2 and "the last change of a key" in both.warnings[0]
    with pytest.raises(
        SqlValidationError, match=r"unknown option 'sink\.buffer-flush.interval' of the connector 'kafka'"
    ):
        options(connector="kafka", sink__buffer_flush__interval="1 s").validate()


def test_a_table_for_trying_out_takes_few_options():
    given = options(connector="print", print_identifier="x", standard_error="true", sink__parallelism="2")
    given.validate()
    assert given.warnings == ["table t: option 'sink.parallelism' has no meaning here and is ignored"]
    with pytest.raises(SqlValidationError, match=r"unknown option 'print-identifer'.*did you mean 'print-identifier'"):
        options(connector="print", print_identifer="x").validate()
    with pytest.raises(SqlValidationError, match="unknown option 'topic' of the connector 'blackhole'"):
        options(connector="blackhole", topic="x").validate()
    with pytest.raises(SqlValidationError, match=r"unknown option 'properties\.group.id' of the connector 'print'"):
        options(connector="print", properties__group__id="x").validate()
