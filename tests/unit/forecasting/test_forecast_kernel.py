"""A traced recursion gives the same bits over floats and over arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from anomaly_app.forecasting.kernel import CHUNK, Kernel
from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, largest, look_up, smallest, sqrt


def everything(given: Mapping[str, Symbol]) -> dict[str, Number]:
    x, a, b, c = given["x"], given["a"], given["b"], given["c"]
    limit = sqrt(largest(b, 0.5)) * 2.0
    error = clip(x - a, limit)
    far = (x - a) * (x - a) > limit * limit
    weight = look_up([1.0, 0.5, 0.25], c)
    return {
        "a": a + weight * error,
        "b": choose(far, b * 1.5, b + weight * (error * error - b)),
        "c": smallest(c + 1.0, 7.0),
        "d": given["e"],
        "e": given["d"],
        "old": a,
        "z": error / limit,
        "minus": -x,
        "small": choose(x < 0.0, 1.0, 0.0),
    }


FIELDS, OUTPUTS = ["a", "b", "c", "d", "e"], ["old", "z", "minus", "small"]


@pytest.mark.parametrize("series", [1, 5, CHUNK + 3])
def test_floats_and_arrays_give_the_same_bits(series: int) -> None:
    kernel = Kernel(everything, FIELDS, ["x"], OUTPUTS)
    random = np.random.default_rng(4)
    values = random.standard_t(2, (12, series))
    start = np.abs(random.normal(size=(5, series)))
    start[2] = np.floor(start[2])
    state = start.copy()
    outputs = np.stack([kernel.many_series(state, row[None]) for row in values])
    for column in {0, series // 2, series - 1}:
        behind, out = kernel.one_series(start[:, column].tolist(), [values[:, column].tolist()])
        assert behind == state[:, column].tolist()
        assert np.array_equal(np.array(out).reshape(12, -1), outputs[:, :, column])


def test_fields_that_change_places() -> None:
    kernel = Kernel(everything, FIELDS, ["x"], OUTPUTS)
    state = np.array([[0.0], [1.0], [0.0], [3.0], [4.0]])
    kernel.many_series(state, np.zeros((1, 1)))
    assert state[3:, 0].tolist() == [4.0, 3.0]
    assert kernel.one_series([0.0, 1.0, 0.0, 3.0, 4.0], [[0.0]])[0][3:] == [4.0, 3.0]


def test_three_fields_in_a_ring() -> None:
    kernel = Kernel(
        lambda given: {"a": given["b"], "b": given["c"], "c": given["a"], "out": given["a"] + given["x"]},
        ["a", "b", "c"],
        ["x"],
        ["out"],
    )
    state = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert kernel.many_series(state, np.ones((1, 2))).tolist() == [[2.0, 11.0]]
    assert state.tolist() == [[2.0, 20.0], [3.0, 30.0], [1.0, 10.0]]


def test_a_slot_is_read_and_written_point_by_point() -> None:
    kernel = Kernel(
        lambda given: {"next": given["held"] + given["x"], "before": given["held"]},
        [],
        ["x", "held"],
        ["before", "next"],
        slots=[("held", "next")],
    )
    table = [0.0, 100.0]
    _, out = kernel.one_series([], [[1.0, 2.0, 3.0], [0, 1, 0]], table)
    assert table == [4.0, 102.0]
    assert out == [0.0, 1.0, 100.0, 102.0, 1.0, 4.0]


def test_several_slots_are_read_before_any_is_written() -> None:
    kernel = Kernel(
        lambda given: {"a_next": given["a"] + given["x"], "b_next": given["b"] * 2.0 + given["a"]},
        [],
        ["x", "a", "b"],
        ["a_next", "b_next"],
        slots=[("a", "a_next"), ("b", "b_next")],
    )
    table = [1.0, 10.0, 100.0]
    _, out = kernel.one_series([], [[1.0, 2.0], [0, 0], [1, 2]], table)
    assert table == [4.0, 21.0, 202.0]
    assert out == [2.0, 21.0, 4.0, 202.0]


def test_long_sums_are_not_too_deep_for_the_parser() -> None:
    def total(given: Mapping[str, Symbol]) -> dict[str, Number]:
        result: Symbol = given["x"]
        for number in range(1, 1_000):
            result = (result + float(number)) * 1.0
        return {"out": result}

    kernel = Kernel(total, [], ["x"], ["out"])
    assert kernel.one_series([], [[1.0]])[1] == [499_501.0]
    assert kernel.many_series(np.zeros((0, 1)), np.ones((1, 1))).tolist() == [[499_501.0]]
