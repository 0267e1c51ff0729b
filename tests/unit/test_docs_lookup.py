"""docs/lookup.md: every example runs and gives what the page shows; every refusal reads as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Example, examples, shown

from anomaly_app import SqlError, query
from anomaly_app.jobs.binder import bind_job

PAGE = (Path(__file__).parents[2] / "docs" / "lookup.md").read_text("utf-8")
JOBS = re.findall(r"^```sql job\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = examples(re.sub(r"^```(sql job|text no result)\n.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL))
REFUSED = re.findall(r"^\| `(SELECT .+)` \| (.*?) ?\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_an_example_gives_what_the_page_shows(example: Example) -> None:
    assert shown(example, "flink") == example.result


@pytest.mark.parametrize(("sql", "problem"), REFUSED)
def test_a_refusal_reads_as_the_page_says(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=re.escape(problem)):
        query(sql, EXAMPLES[0].tables)


@pytest.mark.parametrize("text", JOBS)
def test_the_jobs_are_right(text: str) -> None:
    job = bind_job(text, name="job")
    assert [lookup.table.name for lookup in job.lookups] == ["thresholds"]
    assert job.warnings == ()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5 and len(REFUSED) >= 5 and len(JOBS) == 2
