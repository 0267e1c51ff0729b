"""docs/tables.md: every job binds, and every option is there, in the connectors that the page says, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly_app.errors import SqlValidationError
from anomaly_app.formats import FORMATS
from anomaly_app.formats.debezium import METADATA as OF_EVENTS
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.metadata import METADATA
from anomaly_app.jobs.options import BUFFER, CONNECTORS, IGNORED, MEANINGFUL, TableOptions
from anomaly_app.jobs.tables import bind_source
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text("utf-8")
JOBS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
OPTIONS = {
    name: (kafka, upsert)
    for names, kafka, upsert in re.findall(
        r"^\| ((?:`[a-z.-]+`(?:, )?)+) \| ([^|]+) \| ([^|]+) \|[^|]*\|$", PAGE, re.MULTILINE
    )
    for name in re.findall(r"`([a-z.-]+)`", names)
    if kafka.split()[0] in ("yes", "no", "nothing") and name not in CONNECTORS
}
OF_PRINT = re.findall(
    r"^\| `([a-z.-]+)` \| [^|]+ \|$", PAGE.partition("Option of `print`")[2].partition("##")[0], re.MULTILINE
)
KEYS = re.findall(
    r"^\| `([a-z.-]+)` \| (`.+`) \|[^|]*\|$", PAGE.partition("## Metadata")[2].partition("## Tables")[0], re.MULTILINE
)


def takes(connector: str, option: str) -> str:
    """``yes``, ``no`` or ``nothing``: whether an option is taken, and means something."""
    values = {"connector": connector, option: "1" if option == "sink.buffer-flush.max-rows" else "1 s"}
    if option in BUFFER:
        values |= {BUFFER[0]: "1", BUFFER[1]: "1 s"}
    if option.endswith("format"):
        values[option] = "json"
    options = TableOptions("t", values, {"": (0, 1)}, "text", FORMATS.__getitem__, tuple(FORMATS))
    try:
        options.validate()
    except SqlValidationError as error:
        assert "unknown option" in str(error), error
        return "no"
    return "nothing" if options.warnings else "yes"


@pytest.mark.parametrize("connector", ["kafka", "upsert-kafka"])
@pytest.mark.parametrize("option", list(OPTIONS))
def test_an_option_is_taken_as_the_page_says(option: str, connector: str) -> None:
    said = OPTIONS[option][0 if connector == "kafka" else 1]
    if said == "`value.format`":
        said = "yes" if option == "value.format" else "no"
    found = takes(connector, option)
    if option == "format" and connector == "upsert-kafka":
        found = "no"
    assert found == {"needed": "yes"}.get(said, said)


def test_no_option_is_left_out() -> None:
    for connector in ("kafka", "upsert-kafka"):
        known = (MEANINGFUL[connector] | IGNORED[connector]) - {"connector"}
        assert known <= OPTIONS.keys()
    assert set(BUFFER) <= OPTIONS.keys()
    assert set(OF_PRINT) == (MEANINGFUL["print"] | IGNORED["print"]) - {"connector"}


@pytest.mark.parametrize("text", JOBS)
def test_a_job_binds_without_a_warning(text: str) -> None:
    job = bind_job(text, name="page")
    assert job.plans and not job.warnings


def test_metadata_can_be_read_as_each_type_that_the_page_names() -> None:
    assert sorted(key for key, _ in KEYS) == sorted([*METADATA, *OF_EVENTS])
    for key, types in KEYS:
        for type_ in re.findall(r"`([^`]+)`", types):
            name = {"TIMESTAMP": "TIMESTAMP(3)", "TIMESTAMP_LTZ": "TIMESTAMP_LTZ(3)"}.get(type_, type_)
            with_ = "('connector' = 'kafka', 'topic' = 't', 'format' = 'debezium-json')"
            text = f"CREATE TABLE t (a INT, m {name} METADATA FROM '{key}') WITH {with_}"
            (create,) = parse_statements(text)
            assert isinstance(create, CreateTable)
            bind_source(create, text, [])


def test_the_connectors_are_those_of_the_page() -> None:
    first = PAGE.partition("## Options")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:yes|no|looked up in) \| (?:yes|no) \|", first, re.MULTILINE)
    assert rows == list(CONNECTORS)
