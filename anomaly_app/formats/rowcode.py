"""Generated source that takes columns out of decoded records: one expression a column, one loop a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from anomaly_app.formats.misfit import Convert

ROW = "r"
"""Name of the decoded record in a place."""


def rows_function(
    places: Sequence[str], converts: Sequence[Convert | None], names: Mapping[str, Any] | None = None
) -> Callable[[Iterable[Any]], list[tuple[Any, ...]]]:
    """A function from decoded records to tuples.

    Args:
        places: of each column, as an expression on ``r``, such as ``r[0]`` or ``r.c0``. Never text of a user.
        converts: what to apply to each value that is not None.
        names: what the places refer to besides.

    Example:
        >>> rows_function(["r[1]", "r[0]"], [None, int])([("7", "a"), (None, "b")])
        [('a', 7), ('b', None)]
    """
    namespace: dict[str, Any] = dict(names or {})
    parts = []
    for number, (place, convert) in enumerate(zip(places, converts, strict=True)):
        if convert is None:
            parts.append(place)
        else:
            namespace[f"f{number}"] = convert
            parts.append(f"None if (v := {place}) is None else f{number}(v)")
    source = f"def rows(records):\n    return [({''.join(part + ', ' for part in parts)}) for {ROW} in records]"
    exec(source, namespace)
    return namespace["rows"]  # type: ignore[no-any-return]  # generated code
