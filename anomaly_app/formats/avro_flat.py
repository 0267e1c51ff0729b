"""Flat Avro records by generated code: three times as fast as a general reader, and stricter with broken ones."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from anomaly_app.errors import DecodeError
from anomaly_app.floats import printed_single
from anomaly_app.formats.avro_types import AvroSchema, Node, kind_of

_LONGEST = 10
"""Bytes of a 64-bit number with seven bits in each."""

Reader = Callable[[bytes], tuple[Any, ...]]


def flat_reader(schema: AvroSchema, wanted: Sequence[str], header: int, singles: Collection[str] = ()) -> Reader | None:
    """A function from a payload to the values of some fields, as fastavro reads them without logical types.

    Args:
        schema: the writer's, of a record.
        wanted: names of fields of it.
        header: bytes before the record.
        singles: names of fields of 32-bit floats that are given in the memory form of FLOAT.

    Returns:
        The function, which raises what broken bytes make it stumble over (``LookupError``, ``ValueError``,
        ``struct.error`` and :class:`DecodeError`); None if a field is neither a scalar nor a scalar or null.

    Example:
        >>> schema = AvroSchema.parse('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}')
        >>> flat_reader(schema, ["a"], 0)(bytes([6]))
        (3,)
    """
    names: dict[str, Any] = {
        "varint": _varint, "broken": _broken, "double": _DOUBLE, "float": _FLOAT, "single": _SINGLES
    }  # fmt: skip
    lines = [f"p = {header}"]
    for number, (name, field) in enumerate(schema.fields().items()):
        part = _field(schema, field["type"], number, name in wanted, name in singles, names)
        if part is None:
            return None
        lines += part
    lines += ["if p != len(b): broken(len(b) - p)"]
    places = [list(schema.fields()).index(name) for name in wanted]
    lines += [f"return ({''.join(f'v{place}, ' for place in places)})"]
    exec("def read(b):\n" + "".join(f"    {line}\n" for line in lines), names)
    return names["read"]  # type: ignore[no-any-return]  # generated code


def _field(
    schema: AvroSchema, node: Node, number: int, wanted: bool, single: bool, names: dict[str, Any]
) -> list[str] | None:
    """Lines that read a field into a variable and move the position ``p``."""
    node = schema.resolve(node)
    if not isinstance(node, list):
        return _scalar(node, number, wanted, single, names)
    branches = [schema.resolve(branch) for branch in node]
    nulls = [place for place, branch in enumerate(branches) if kind_of(branch)[0] == "null"]
    if len(branches) != 2 or len(nulls) != 1:
        return None
    branch = branches[1 - nulls[0]]
    null, given = 2 * nulls[0], 2 - 2 * nulls[0]
    size = {"float": 4, "double": 8}.get(kind_of(branch)[0])
    if size is not None and not wanted:
        names[f"w{number}"] = _Sizes({null: 1, given: 1 + size})
        return [f"p += w{number}[b[p]]"]
    inner = _scalar(branch, number, wanted, single, names)
    if inner is None:
        return None
    return [
        "n = b[p]; p += 1",
        f"if n == {given}:",
        *("    " + line for line in inner),
        *([f"elif n == {null}: v{number} = None", "else: broken()"] if wanted else [f"elif n != {null}: broken()"]),
    ]


def _scalar(node: Node, number: int, wanted: bool, single: bool, names: dict[str, Any]) -> list[str] | None:
    kind, _ = kind_of(node)
    variable = f"v{number}"
    if kind in ("string", "bytes"):
        # An odd number would be a negative length. What is too long is seen at the end, where p is beyond it.
        lines = ["n = b[p]; p += 1", "if n & 129: n, p = varint(b, p - 1, 63, True)"]
        if not wanted:
            return [*lines, "p += n >> 1"]
        return [*lines, "q = p + (n >> 1)", f"{variable} = b[p:q]{'.decode()' * (kind == 'string')}; p = q"]
    if kind in ("int", "long"):
        bits = 32 if kind == "int" else 64
        lines = ["n = b[p]; p += 1", f"if n > 127: n, p = varint(b, p - 1, {bits}, False)"]
        return [*lines, f"{variable} = (n >> 1) ^ -(n & 1)"] if wanted else lines
    if kind == "boolean":
        return ["n = b[p]; p += 1", "if n > 1: broken()", *([f"{variable} = n == 1"] if wanted else [])]
    if kind in ("float", "double"):
        size = 4 if kind == "float" else 8
        if not wanted:
            return [f"p += {size}"]
        if single and kind == "float":
            return [f"q = p + 4; {variable} = single[b[p:q]]; p = q"]
        return [f"{variable} = {kind}(b, p)[0]; p += {size}"]
    if kind == "enum":
        names[f"s{number}"] = tuple(node["symbols"])
        lines = ["n = b[p]; p += 1", "if n & 129: n, p = varint(b, p - 1, 32, True)"]
        return [*lines, f"{variable} = s{number}[n >> 1]"]
    if kind == "fixed":
        size = int(node["size"])
        return [f"{variable} = b[p:p + {size}]; p += {size}"] if wanted else [f"p += {size}"]
    return None


_DOUBLE, _FLOAT = struct.Struct("<d").unpack_from, struct.Struct("<f").unpack_from
_SINGLE = struct.Struct("<f").unpack


class _Singles(dict[bytes, float]):
    """Floats in the memory form of FLOAT by the four bytes that they are read from: few are met only once."""

    def __missing__(self, data: bytes) -> float:
        value = printed_single(_SINGLE(data)[0])
        if len(self) >= MOST_SINGLES:
            self.clear()
        self[data] = value
        return value


MOST_SINGLES = 50_000
"""Floats that are remembered."""

_SINGLES = _Singles()


class _Sizes(dict[int, int]):
    """Bytes of a field by its branch, this one too."""

    def __missing__(self, branch: int) -> int:
        _broken()


def _varint(data: bytes, start: int, bits: int, positive: bool) -> tuple[int, int]:
    """A number of several bytes, not yet unfolded to its sign, and the position behind it."""
    number = shift = 0
    for byte in data[start : start + _LONGEST]:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if number >> bits or (positive and number & 1):
                _broken()
            return number, start + shift // 7
    if len(data) < start + _LONGEST:
        raise IndexError("it ends too early")
    _broken()


def _broken(left: int = 0) -> NoReturn:
    if left > 0:
        raise DecodeError(f"{left} bytes are left behind the record")
    raise ValueError("it ends too early" if left else "a length, number or branch is impossible")
