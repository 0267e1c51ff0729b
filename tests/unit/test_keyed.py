"""Values by key: what lives, what is stored, what is let go, and what expires."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.errors import StateError
from anomaly_app.keyed import HEAD, PART, KeyedState, ValueCodec
from anomaly_app.room import Room, size_in_memory
from anomaly_app.schema import INT, STRING, Column

KEYS = [Column("k", STRING)]


class Value:
    """A number, when it was used, and a list that is stored in parts, one for each flush."""

    __slots__ = ("items", "lengths", "number", "used")

    def __init__(self, number: int, items: Sequence[int] = (), used: int = 0, lengths: Sequence[int] = ()) -> None:
        self.number, self.items, self.used, self.lengths = number, list(items), used, list(lengths)


class Codec(ValueCodec[Value]):
    def encode(self, value: Value) -> bytes:
        return msgspec.msgpack.encode((value.number, value.used, len(value.lengths)))

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Value:
        number, used, count = msgspec.msgpack.decode(data)
        lists = [msgspec.msgpack.decode(parts[place]) for place in range(count)]
        return Value(number, [item for part in lists for item in part], used, [len(part) for part in lists])

    def changed_parts(self, value: Value) -> Mapping[int, bytes | None]:
        done = sum(value.lengths)
        if done == len(value.items):
            return {}
        value.lengths.append(len(value.items) - done)
        return {len(value.lengths) - 1: msgspec.msgpack.encode(value.items[done:])}

    def stored_parts(self, value: Value) -> Collection[int]:
        return range(len(value.lengths))

    def parts_of(self, data: bytes) -> Collection[int]:
        return range(msgspec.msgpack.decode(data)[2])

    def used_at(self, value: Value) -> int:
        return value.used

    def was_used_at(self, data: bytes) -> int:
        return int(msgspec.msgpack.decode(data)[1])


class Disk:
    """A backing that counts what is asked."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.asked = 0

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        self.asked += 1
        return [self.entries.get(name) for name in names]

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        return [(name, self.entries[name]) for name in sorted(self.entries) if name > behind][:most]

    def take(self, state: KeyedState[Value]) -> None:
        for name, data in state.changes():
            if data is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = data


def backed(room: int = 0, ttl_ms: int | None = None, disk: Disk | None = None) -> tuple[KeyedState[Value], Disk]:
    disk = disk or Disk()
    state = KeyedState(KEYS, Codec(), ttl_ms=ttl_ms)
    state.attach(disk, Room(room))
    return state, disk


def test_what_is_changed_and_not_flushed_stays() -> None:
    state, _ = backed(room=0)
    state.put("a", Value(1))
    state.prefetch(["b", "c"])
    assert state.live["a"].number == 1


def test_a_value_without_room_is_let_go_once_it_is_stored_and_read_again_when_it_is_wanted() -> None:
    state, disk = backed(room=0)
    state.put("a", Value(1, [5, 6]))
    disk.take(state)
    assert "a" in state.live, "the flush that holds it may not be written yet"
    disk.take(state)
    assert "a" not in state.live
    again = state.get("a")
    assert again is not None and (again.number, again.items) == (1, [5, 6])
    assert state.counts == {"read": 1, "let go": 1, "expired": 0}


def test_one_question_for_all_keys_of_a_batch() -> None:
    first, disk = backed()
    first.put_all({str(n): Value(n) for n in range(100)})
    disk.take(first)
    state, _ = backed(room=1 << 30, disk=disk)
    state.prefetch(str(n) for n in range(200))
    assert disk.asked == 1
    assert sorted(value.number for value in state.live.values()) == list(range(100))


def test_what_was_deleted_is_not_found_in_the_backing_before_it_is_gone_there() -> None:
    state, disk = backed()
    state.put("a", Value(1, [1]))
    disk.take(state)
    state.delete("a")
    assert state.get("a") is None
    under_way = list(state.changes())
    assert state.get("a") is None, "the flush is not written yet"
    name = msgspec.msgpack.encode(("a",))
    assert under_way == [(HEAD + name, None), (PART + name + bytes(4), None)]


def test_a_value_in_place_of_a_deleted_one_leaves_no_part_of_it() -> None:
    state, disk = backed()
    value = Value(1)
    state.put("a", value)
    for item in range(3):
        value.items.append(item)
        state.touch(["a"])
        disk.take(state)
    assert len(disk.entries) == 4
    state.delete("a")
    state.put("a", Value(2, [9]))
    disk.take(state)
    assert len(disk.entries) == 2
    found = backed(disk=disk)[0].get("a")
    assert found is not None and (found.number, found.items) == (2, [9])


def test_only_the_new_part_is_written() -> None:
    state = KeyedState(KEYS, Codec())
    value = Value(1, range(1_000))
    state.put("a", value)
    assert sum(len(data or b"") for _, data in state.changes()) > 1_000
    value.items.append(1)
    state.touch(["a"])
    assert sum(len(data or b"") for _, data in state.changes()) < 20


def test_what_is_asked_for_together_lives_together() -> None:
    state, disk = backed(room=0)
    state.put_all({name: Value(1) for name in "abc"})
    disk.take(state)
    state.prefetch("a")
    disk.take(state)  # now there is nothing unsaved
    for keys in ("ab", "bc", "abc", "ca"):
        state.prefetch(keys)
        assert set(state.live) >= set(keys)


def test_memory_is_bounded_and_the_last_used_stay() -> None:
    state, disk = backed(room=100_000)
    for start in range(0, 10_000, 100):
        state.prefetch(f"key {n}" for n in range(start, start + 100))
        state.put_all({f"key {n}": Value(n) for n in range(start, start + 100)})
        disk.take(state)
        assert sum(size_in_memory(k) + size_in_memory(v) for k, v in state.live.items()) < 200_000
    assert len(disk.entries) == 10_000
    assert "key 9999" in state.live and "key 0" not in state.live
    assert len(state) > 100


def test_states_share_their_room() -> None:
    room, disks = Room(400_000), [Disk(), Disk()]
    states = [KeyedState(KEYS, Codec()) for _ in disks]
    for state, disk in zip(states, disks, strict=True):
        state.attach(disk, room)
    for start in range(0, 2_000, 100):
        states[0].put_all({str(n): Value(n) for n in range(start, start + 100)})
        disks[0].take(states[0])
    alone = len(states[0])
    for start in range(0, 2_000, 100):
        for state, disk in zip(states, disks, strict=True):
            state.put_all({str(n): Value(n) for n in range(start, start + 100)})
            disk.take(state)
    assert len(states[0]) < 0.8 * alone
    assert room.sharers == 2 and room.taken <= 1.5 * room.most


def test_what_has_expired_is_dropped_wherever_it_is() -> None:
    state, disk = backed(room=0, ttl_ms=1_000)
    state.put("old", Value(1, [1], used=10_000))
    state.put("stored", Value(2, [1], used=10_000))
    state.put("new", Value(3, used=12_000))
    disk.take(state)
    state.sweep(10_000)
    disk.take(state)  # lets all go
    assert state.get("old") is not None
    state.sweep(11_500)
    assert state.counts["expired"] == 1 and "old" not in state.live
    disk.take(state)
    disk.take(state)
    assert state.counts["expired"] == 2
    assert [name for name in disk.entries if b"new" not in name] == []
    assert state.get("new") is not None


def test_who_uses_a_value_sees_whether_it_has_expired() -> None:
    state = KeyedState(KEYS, Codec(), ttl_ms=1_000)
    assert not state.has_expired(Value(1, used=5_000), 6_000)
    assert state.has_expired(Value(1, used=5_000), 6_001)
    assert not KeyedState(KEYS, Codec()).has_expired(Value(1, used=5_000), 1 << 60)


def test_nothing_is_noted_where_nobody_stores() -> None:
    state = KeyedState(KEYS, Codec())
    state.is_stored = False
    state.put("a", Value(1))
    state.put("b", Value(1))
    state.touch(["a"])
    state.delete("b")
    assert list(state.changes()) == [] and list(state.live) == ["a"]


def test_entries_of_another_kind_are_refused() -> None:
    with pytest.raises(StateError, match="another kind"):
        KeyedState(KEYS, Codec()).restore([(b"x", b"")])
    state = KeyedState(KEYS, Codec())
    state.put("a", Value(1, [1]))
    entries = [(name, data) for name, data in state.changes() if data is not None and name.startswith(HEAD)]
    with pytest.raises(StateError, match="missing"):
        KeyedState(KEYS, Codec()).restore(entries)


def test_keys_of_several_columns_and_of_none() -> None:
    for columns, key in (([Column("a", INT), Column("b", STRING)], (1, None)), ([], ())):
        state = KeyedState(columns, Codec())
        state.put(key, Value(7))
        again = KeyedState(columns, Codec())
        again.restore((name, data) for name, data in state.changes() if data is not None)
        assert again.live[key].number == 7


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcdef"), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from("abcdef")),
        st.tuples(st.sampled_from(["flush", "crash", "crash in a flush"])),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([0, 500, 1 << 20]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_it_is_a_dict_whatever_is_let_go_and_whenever_it_crashes(steps: Any, room: int, has_backing: bool) -> None:
    disk = Disk()

    def fresh() -> KeyedState[Value]:
        state = KeyedState(KEYS, Codec())
        if has_backing:
            state.attach(disk, Room(room))
        else:
            state.restore(disk.entries.items())
        return state

    state, model, flushed = fresh(), dict[str, list[int]](), dict[str, list[int]]()
    for kind, *args in steps:
        if kind == "flush":
            disk.take(state)
            flushed = {key: list(items) for key, items in model.items()}
        elif kind.startswith("crash"):
            if kind != "crash":
                list(state.changes())
            state, model = fresh(), {key: list(items) for key, items in flushed.items()}
        else:
            key = args[0]
            state.prefetch([key])
            value = state.live.get(key)
            assert (None if value is None else value.items) == model.get(key)
            if kind == "add" and value is None:
                state.put(key, Value(0, [args[1]]))
                model[key] = [args[1]]
            elif kind == "add":
                assert value is not None
                value.items.append(args[1])
                state.touch([key])
                model[key].append(args[1])
            elif value is not None:
                state.delete(key)
                del model[key]
    for key in "abcdef":
        value = state.get(key)
        assert (None if value is None else value.items) == model.get(key)


def test_a_value_of_which_little_changes_weighs_as_much_as_before() -> None:
    state, disk = backed(room=1_000_000)
    values = {f"key {n}": Value(n, range(1_000)) for n in range(100)}
    state.put_all(values)
    disk.take(state)
    for key, value in values.items():
        value.number += 1
        state.touch([key])
    disk.take(state)
    disk.take(state)
    assert sum(map(size_in_memory, state.live.values())) < 2_000_000
