"""Trees with some of their nodes replaced; what is shared stays shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


def rewrite(tree: T, change: Callable[[Any], Any]) -> T:
    """A tree of frozen dataclasses and tuples in which each node is what ``change`` makes of it, inner ones first.

    A tree in which nothing changes is given back itself. Trees may be deeper than the stack.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> from anomaly_app.sql.queries import TableRef
        >>> tree = parse_statements("SELECT a FROM t")[0]
        >>> rewrite(tree, lambda node: replace(node, path=("u",)) if isinstance(node, TableRef) else node).table.path
        ('u',)
    """
    done: dict[int, Any] = {}
    waiting: list[tuple[Any, bool]] = [(tree, False)]
    while waiting:
        node, parts_are_done = waiting.pop()
        if id(node) in done:
            continue
        if not parts_are_done:
            waiting.append((node, True))
            waiting += [(part, False) for _, part in _parts(node)]
            continue
        done[id(node)] = change(_rebuilt(node, done))
    result: T = done[id(tree)]
    return result


def _parts(node: Any) -> Iterator[tuple[Any, Any]]:
    """Parts that are trees, with the name or number of each."""
    if type(node) is tuple:
        yield from ((number, part) for number, part in enumerate(node) if _is_tree(part))
    else:
        named = ((field.name, getattr(node, field.name)) for field in fields(node))
        yield from ((name, part) for name, part in named if _is_tree(part))


def _is_tree(value: Any) -> bool:
    return type(value) is tuple or (is_dataclass(value) and not isinstance(value, type))


def _rebuilt(node: Any, done: dict[int, Any]) -> Any:
    changed = {name: done[id(part)] for name, part in _parts(node) if done[id(part)] is not part}
    if not changed:
        return node
    if type(node) is tuple:
        return tuple([changed.get(number, part) for number, part in enumerate(node)])
    return replace(node, **changed)
