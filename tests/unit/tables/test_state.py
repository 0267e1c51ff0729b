"""State that is written in steps, torn apart at every place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rocksdict import Options, Rdict

from anomaly_app.errors import StateError
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.tables import state
from anomaly_app.tables.state import Entries, StateTable, Stored, decode, encode, is_keyed, steps


class FakeDatabase(dict[bytes, bytes]):
    """What is used of RocksDB."""

    def get(self, key: Any, default: Any = None) -> Any:
        return [super(FakeDatabase, self).get(one) for one in key] if isinstance(key, list) else super().get(key)

    def iter(self) -> FakeIterator:
        return FakeIterator(self)


class FakeIterator:
    """In order of the keys."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database, self._keys, self._at = database, sorted(database), 0

    def seek_to_first(self) -> None:
        self._at = 0

    def seek(self, key: bytes) -> None:
        self._at = bisect_left(self._keys, key)

    def valid(self) -> bool:
        return self._at < len(self._keys)

    def key(self) -> bytes:
        return self._keys[self._at]

    def value(self) -> bytes:
        return self._database[self._keys[self._at]]

    def next(self) -> None:
        self._at += 1


class FakeTable:
    """A Faust table over dictionaries."""

    def __init__(self) -> None:
        self.databases: dict[int, FakeDatabase] = {}
        self.data = SimpleNamespace(offset_key=b"offset", _db_for_partition=lambda partition: self.databases[partition])


def table_of(entries: dict[bytes, bytes]) -> StateTable:
    fake = FakeTable()
    fake.databases[0] = FakeDatabase(entries)
    app: Any = SimpleNamespace(Table=lambda *args, **kwargs: fake)
    return StateTable(app, "state", 1)


def apply(store: dict[bytes, bytes], entries: Entries) -> None:
    for key, value in entries:
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value


keys = st.sampled_from([b"q\0a", b"q\0b", b"q\0\x7f\0\0\0hc", b"q\0\x7f\0\0\0hd", b"r\0d", b"r\0\x7f\0\1\0he"])
QUERIES = {"q": "job/one", "r": "job/two"}
flushes = st.lists(st.lists(st.tuples(keys, st.none() | st.binary(max_size=4)), max_size=6), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(flushes=flushes, room=st.sampled_from([0, 10_000]), tear=st.integers(0, 60), again=st.integers(0, 60))
def test_a_crash_anywhere_leaves_the_state_of_some_flush(
    flushes: list[list[tuple[bytes, bytes | None]]], room: int, tear: int, again: int
) -> None:
    """Entries reach the store one by one in the worst case; a restart settles, and may be torn as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "BATCH_BYTES", room)
        written: list[tuple[bytes, bytes | None]] = []
        states: list[dict[bytes, bytes]] = [{}]
        atomic: list[int] = []
        for number, changes in enumerate(flushes, 1):
            changes = list(dict(changes).items())
            for step in steps(Stored(Checkpoint(next_position=number), {}, queries=QUERIES), changes):
                written += step
                if room:
                    atomic.append(len(written))
            after = dict(states[-1])
            apply(after, changes)
            states.append(after)
        cut = min(tear, len(written)) if not room else max([place for place in (0, *atomic) if place <= tear])
        store: dict[bytes, bytes] = {}
        apply(store, written[:cut])
        _, _, settle = table_of(dict(store)).read(0)
        apply(store, settle[:again])
        stored, entries, settle = table_of(dict(store)).read(0)
        apply(store, settle)
        reached = stored.checkpoint.next_position if stored is not None else 0
        assert entries == {key: value for key, value in states[reached].items() if not is_keyed(key)}
        assert {key: value for key, value in store.items() if not key.startswith(b"\0")} == states[reached]
        later, again_entries, nothing = table_of(store).read(0)
        assert again_entries == entries and not nothing
        assert (later.checkpoint if later else None) == (stored.checkpoint if stored else None)


def test_a_small_flush_is_one_step() -> None:
    assert len(steps(Stored(Checkpoint(), {"out": [1, 2]}), [(b"key", b"value"), (b"gone", None)])) == 1


def test_a_large_one_never_mixes_entries_with_the_checkpoint_that_counts_them() -> None:
    changes = [(b"%d" % number, b"x" * 1_000) for number in range(1_000)]
    journal, counted, entries, cleared = steps(Stored(Checkpoint(), {}), changes)
    assert len(journal) == len(changes) == len(cleared)
    assert decode(counted[0][1] or b"").journal == len(changes)
    assert entries[:-1] == changes and decode(entries[-1][1] or b"").journal == 0


def test_unreadable_state_is_said() -> None:
    with pytest.raises(StateError, match="unreadable"):
        table_of({state.CHECKPOINT: b"\xc1"}).read(0)


def test_the_store_is_rocksdb(tmp_path: Path) -> None:
    database = Rdict(str(tmp_path / "db"), Options(raw_mode=True))
    fake = FakeTable()
    fake.data._db_for_partition = lambda partition: database
    app: Any = SimpleNamespace(Table=lambda *args, **kwargs: fake)
    table = StateTable(app, "state", 1)
    record = (state.CHECKPOINT, encode(Stored(Checkpoint(next_position=7), {"out": [3]}, queries=QUERIES)))
    table.write(0, [(b"q\0a", b"1"), (b"q\0b", b"2"), record], 11)
    table.write(0, [(b"q\0a", None)], 12)
    stored, entries, settle = table.read(0)
    assert stored is not None and stored.checkpoint.next_position == 7 and stored.outputs == {"out": [3]}
    assert entries == {b"q\0b": b"2"} and not settle
    assert database[b"offset"] == b"12"
    database.close()


def test_entries_whose_owner_the_checkpoint_does_not_name_are_nobodys_and_go_first() -> None:
    """A query that comes back after an edit must not find what it had before: rows have passed meanwhile."""
    record = encode(Stored(Checkpoint(next_position=7), {}, queries={"q": "job/one"}))
    stored, entries, settle = table_of({state.CHECKPOINT: record, b"q\0a": b"1", b"r\0d": b"2"}).read(0)
    assert stored is not None and stored.queries == {"q": "job/one"}
    assert entries == {b"q\0a": b"1"}
    assert settle == [(b"r\0d", None)]


def test_a_journal_does_not_bring_back_what_nobody_owns() -> None:
    changes = [(b"q\0a", b"1"), (b"r\0d", b"2")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "BATCH_BYTES", 0)
        journal, counted, *_ = steps(Stored(Checkpoint(next_position=7), {}, queries={"q": "job/one"}), changes)
    store: dict[bytes, bytes] = {}
    apply(store, [*journal, *counted])
    _, entries, settle = table_of(dict(store)).read(0)
    apply(store, settle)
    assert entries == {b"q\0a": b"1"}
    assert set(store) == {state.CHECKPOINT, b"q\0a"}
    assert table_of(store).read(0)[1:] == (entries, [])


def test_state_without_a_checkpoint_is_nobodys() -> None:
    assert table_of({b"q\0a": b"1"}).read(0) == (None, {}, [(b"q\0a", None)])


STORE = b"q\0\x7f\0\1\0"


@pytest.fixture(params=["fake", "rocksdb"])
def table(request: Any, tmp_path: Path) -> Iterator[StateTable]:
    database: Any = FakeDatabase() if request.param == "fake" else Rdict(str(tmp_path / "db"), Options(raw_mode=True))
    fake = FakeTable()
    fake.data._db_for_partition = lambda partition: database
    record = (state.CHECKPOINT, encode(Stored(Checkpoint(next_position=7), {}, queries=QUERIES)))
    names = [b"offset", b"q\0\0\0kann", STORE + b"ha", STORE + b"hb", STORE + b"pa\0", b"q\0\x7f\0\2\0hx", b"q\0\x80",
             b"r\0\0\0z", b"r\0\x7f\0\1\0hc", b"gone\0\0\0a", b"gone\0\x7f\0\1\0ha"]  # fmt: skip
    for name, value in [*((name, name) for name in names), record]:
        database[name] = value
    app: Any = SimpleNamespace(Table=lambda *args, **kwargs: fake)
    yield StateTable(app, "state", 1)
    if request.param == "rocksdb":
        database.close()


def test_values_of_stores_are_passed_over_when_a_partition_begins(table: StateTable) -> None:
    _, entries, settle = table.read(0)
    assert sorted(entries) == [b"q\0\0\0kann", b"q\0\x80", b"r\0\0\0z"]
    assert settle == [(b"gone\0\0\0a", None), (b"gone\0\x7f\0\1\0ha", None)]


def test_values_of_stores_are_asked_for_by_name(table: StateTable) -> None:
    backing = table.backing(0, STORE)
    assert backing.get_many([b"hb", b"hz", b"ha"]) == [STORE + b"hb", None, STORE + b"ha"]
    assert backing.scan(b"h", 10) == [(name, STORE + name) for name in (b"ha", b"hb", b"pa\0")]
    assert backing.scan(b"ha", 1) == [(b"hb", STORE + b"hb")]
    assert backing.scan(b"pa\0", 5) == []


def test_what_a_query_leaves_behind_are_also_the_values_of_its_stores(table: StateTable) -> None:
    _, entries, _ = table.read(0)
    found = table.left_behind(0, entries, {b"r"})
    assert sorted(found) == sorted([b"q\0\0\0kann", b"q\0\x80", STORE + b"ha", STORE + b"hb", STORE + b"pa\0",
                                    b"q\0\x7f\0\2\0hx", b"gone\0\x7f\0\1\0ha"])  # fmt: skip


def test_a_journal_does_not_bring_back_values_that_nobody_owns() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "BATCH_BYTES", 0)
        changes: Entries = [(STORE + b"ha", b"1"), (b"r\0\x7f\0\1\0hc", b"2")]
        journal, counted, *_ = steps(Stored(Checkpoint(next_position=7), {}, queries={"q": "job/one"}), changes)
    store: dict[bytes, bytes] = {}
    apply(store, [*journal, *counted])
    apply(store, table_of(dict(store)).read(0)[2])
    assert set(store) == {state.CHECKPOINT, STORE + b"ha"}
