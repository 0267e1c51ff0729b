"""Conditions and projections as one generated function, however many of them stand above each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.plan.nodes import Calc
from anomaly_app.plan.scope import HIDDEN, Expression


def row_codes(layout: Layout, first: int = COLUMNS) -> dict[str, Code]:
    """Source of each column of a row named ``row``, whose columns begin at index ``first``."""
    return {column.name: Code(f"row[{first + k}]", column.type) for k, column in enumerate(layout.columns)}


def compile_calcs(
    calcs: Sequence[Calc],
    codes: Mapping[str, Code],
    wanted: Iterable[str],
    *,
    parameters: str = "row",
    before: Sequence[str] = (),
    behind: str = "",
    after: Sequence[str] = (),
) -> tuple[Callable[..., Any], str]:
    """A function from a row to one behind some conditions and projections, None if a condition does not hold.

    Args:
        calcs: the innermost first; at least one.
        codes: source of the columns of the innermost one's input.
        wanted: names of the columns of the last one that the result has, in this order.
        parameters: of the function.
        before: source of what the result begins with.
        behind: source of a tuple that it ends with; "" for nothing.
        after: source of what the result ends with.

    Returns:
        The function, and its source for people.
    """
    env = Environment()
    lines: list[str] = []
    wanted = list(wanted)
    needs: list[set[str]] = [set(wanted)]
    for calc in reversed(calcs):
        needed = set(calc.condition.reads) if calc.condition is not None else set()
        needed |= needs[-1] & HIDDEN
        for name, item in zip(calc.names, calc.items, strict=True):
            if name in needs[-1]:
                needed |= item.reads
        needs.append(needed)
    needs.reverse()
    number = 0
    for level, (calc, needed) in enumerate(zip(calcs, needs[1:], strict=True)):
        if calc.condition is not None:
            condition = calc.condition.compile_condition(codes.__getitem__, env)
            lines += [f"    if not {condition}:", "        return None"]
        outer = {name: codes[name] for name in HIDDEN if name in codes}
        last = level == len(calcs) - 1
        for column, item in zip(calc.columns, calc.items, strict=True):
            if column.name not in needed:
                continue
            code = _code(item, codes, env)
            if item.bare is None and not last and code.constant is None:
                name = f"x{number}"
                number += 1
                lines.append(f"    {name} = {code.source}")
                code = Code(name, code.type)
            outer[column.name] = code
        codes = outer
    values = [*before, *(codes[name].source for name in wanted), *([f"*{behind}"] if behind else []), *after]
    result = f"    return ({', '.join(values)}{',' * bool(values)})"
    source = "\n".join([f"def calculate({parameters}):", *lines, result])
    return env.function("calculate", source), source


def _code(item: Expression, codes: Mapping[str, Code], env: Environment) -> Code:
    return codes[item.bare] if item.bare is not None else item.compile(codes.__getitem__, env)


def is_everything(chain: Sequence[Calc]) -> bool:
    """Whether projections give all columns of what is below as they are, in their order."""
    return all(
        calc.condition is None and [item.bare for item in calc.items] == list(calc.input.names) for calc in chain
    )
