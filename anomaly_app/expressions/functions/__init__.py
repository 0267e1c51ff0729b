"""The scalar functions, by name; a family of them in each module."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.compiling import Compiler
from anomaly_app.expressions.functions import (
    collections,
    conditions,
    encodings,
    json,
    numbers,
    regexp,
    text,
    time,
)
from anomaly_app.expressions.functions.registry import Entry, compile_entry
from anomaly_app.expressions.typed import Code

FAMILIES = (numbers, conditions, text, regexp, encodings, time, json, collections)
"""Each has its functions as ``FUNCTIONS``."""


def _by_name() -> dict[str, Entry]:
    known: dict[str, Entry] = {}
    for family in FAMILIES:
        if twice := known.keys() & family.FUNCTIONS.keys():
            raise ValueError(f"there are two functions {min(twice)}")
        known.update(family.FUNCTIONS)
    return known


FUNCTIONS: Mapping[str, Entry] = _by_name()
"""Every scalar function by its name, in upper case."""


def compile_function(compiler: Compiler, node: n.Call) -> Code:
    """Source of a call of a scalar function; an error for a wrong number or type of arguments."""
    return compile_entry(FUNCTIONS[node.name], compiler, node)
