"""A table in a file that is looked up in: when it is read again, and what leaves it as it is."""

from __future__ import annotations

import logging
import os
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.files import FileSource
from anomaly_app.runtime.lookups import FileFollower

JOB = """
CREATE TABLE o (k STRING) WITH ('connector' = 'kafka', 'topic' = 'o', 'format' = 'json');
CREATE TABLE t (k STRING, most INT) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv');
SELECT o.k, most FROM o JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON o.k = t.k;
"""


class Followed:
    """A file, and the table that follows it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.csv"
        (lookup,) = bind_job(JOB.format(path=self.path), name="job").lookups
        assert isinstance(lookup.source, FileSource)
        self.table = lookup.table
        self.follower = FileFollower(lookup, lookup.source, "job.sql")
        self._times = 0

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self._times += 1
        os.utime(self.path, ns=(self._times, self._times))  # however coarse the clock of the file system is

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        index = self.table.index("k", itemgetter(2))
        return sorted(row[2:] for rows in index.rows.values() for row in rows)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


async def test_it_is_read_again_only_when_it_has_changed(followed: Followed) -> None:
    followed.write("a,1\n")
    await followed.follower.begin()
    await followed.follower.look()
    assert (followed.rows, followed.table.version) == ([("a", 1)], 1)
    followed.write("a,2\nb,3\n")
    await followed.follower.look()
    assert (followed.rows, followed.table.version) == ([("a", 2), ("b", 3)], 2)


async def test_bad_lines_are_counted_and_told(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    followed.write("a,1\nb,many\nc\n")
    with caplog.at_level(logging.WARNING):
        await followed.follower.begin()
    assert (followed.rows, followed.follower.rejected) == ([("a", 1)], 2)
    assert "table t: 2 rows cannot be read and are left out, the first: line 2: column most: 'many'" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("x,y\n", "no row can be read; the first: line 1"),
        ("k,mst\na,1\n", "its first line has no column 'most'"),
        ("a,1\nb,2\nc,3\n", "table t has 3 rows: limits.lookup_rows allows 2 for a lookup"),
    ],
)
async def test_what_cannot_be_taken_leaves_the_table_as_it_is(
    followed: Followed,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    problem: str,
) -> None:
    followed.write("a,1\n")
    followed.table.most = 2
    await followed.follower.begin()
    if text is None:
        followed.path.unlink()
    else:
        followed.write(text)
    reads: list[None] = []
    read = FileFollower._read
    monkeypatch.setattr(FileFollower, "_read", lambda one: (reads.append(None), read(one))[1])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await followed.follower.look()
    assert len(reads) == (text is not None)  # one that is not there is not read, and the others once
    assert problem in followed.follower.problem
    assert (followed.rows, followed.table.version) == ([("a", 1)], 1)
    assert caplog.text.count("keeps the rows it has") == 1  # said once
    followed.write("a,2\n")
    await followed.follower.look()
    assert (followed.rows, followed.follower.problem) == ([("a", 2)], "")


async def test_a_file_that_is_being_written_is_left_for_the_next_look(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a,1\n")
    await followed.follower.begin()
    followed.write("a,2\n")
    read = FileFollower._read

    def half(follower: FileFollower) -> Any:
        found = read(follower)
        followed.write("a,2\nb,3\n")  # the writer goes on meanwhile
        return found

    monkeypatch.setattr(FileFollower, "_read", half)
    await followed.follower.look()
    assert followed.rows == [("a", 1)]
    monkeypatch.setattr(FileFollower, "_read", read)
    await followed.follower.look()
    assert followed.rows == [("a", 2), ("b", 3)]


async def test_an_empty_file_empties_the_table(followed: Followed) -> None:
    followed.write("k,most\na,1\n")
    await followed.follower.begin()
    followed.write("k,most\n")
    await followed.follower.look()
    assert (followed.rows, len(followed.table), followed.follower.problem) == ([], 0, "")


async def test_at_the_start_the_error_points_at_the_path(followed: Followed) -> None:
    with pytest.raises(SqlValidationError) as caught:
        await followed.follower.begin()
    error = caught.value
    assert str(error).startswith("job.sql: line 3")
    assert error.text[error.start : error.end].startswith("'path'")
