"""Reorder buffer, upstream watermarks, absurd timestamps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from anomaly_app.eventtime import ReorderBuffer, UpstreamWatermarks, split_ahead
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK


def test_a_row_is_late_if_its_time_is_not_after_the_watermark():
    buffer = ReorderBuffer(delay_ms=10)
    assert buffer.add([(100, 0), (91, 1), (90, 2), (89, 3)]) == [(90, 2), (89, 3)]
    assert buffer.watermark == 90


def test_a_row_takes_part_before_it_moves_the_watermark():
    buffer = ReorderBuffer(delay_ms=0)
    assert buffer.add([(5, 0), (5, 1), (6, 2)]) == [(5, 1)]
    assert buffer.release() == [(5, 0), (6, 2)]


def test_equal_times_keep_their_order_of_arrival():
    buffer = ReorderBuffer(delay_ms=5)
    buffer.add([(7, 0), (7, 1), (6, 2), (7, 3)])
    buffer.advance(MAX_WATERMARK)
    assert buffer.release() == [(6, 2), (7, 0), (7, 1), (7, 3)]


@given(st.lists(st.integers(0, 100)), st.integers(0, 50), st.lists(st.integers(0, 100), max_size=5))
def test_rows_come_out_in_order_each_once_or_are_late(times, delay, cuts):
    rows = [(time, position) for position, time in enumerate(times)]
    whole, parts = ReorderBuffer(delay), ReorderBuffer(delay)
    late = whole.add(rows)
    whole.advance(MAX_WATERMARK)
    released = whole.release()
    assert sorted(late + released) == sorted(rows)
    assert [row[0] for row in released] == sorted(row[0] for row in released)
    piecewise, late_piecewise = [], []
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in pairwise(bounds):
        late_piecewise += parts.add(rows[start:end])
        piecewise += parts.release()
    parts.advance(MAX_WATERMARK)
    assert (piecewise + parts.release(), late_piecewise) == (released, late)


def test_the_watermark_of_several_partitions_is_the_least_and_never_falls():
    upstream = UpstreamWatermarks([0, 1])
    assert upstream.update(0, 50) == MIN_WATERMARK
    assert upstream.update(1, 30) == 30
    assert upstream.idle(1) == 50
    assert upstream.update(1, 40) == 50
    assert upstream.update(1, 60) == 50
    assert upstream.idle(0) == 60


def test_a_snapshot_brings_watermarks_back():
    upstream = UpstreamWatermarks([0, 1])
    upstream.update(0, 50)
    upstream.update(1, 30)
    again = UpstreamWatermarks([0, 1])
    again.restore(upstream.snapshot())
    assert again.current == 30


def test_absurd_times_are_set_apart():
    rows = [(1, 0), (10**15, 1), (2, 2)]
    assert split_ahead(rows, 10**12) == ([(1, 0), (2, 2)], [(10**15, 1)])
    assert split_ahead(rows[:1], 10**12)[0] == rows[:1]
