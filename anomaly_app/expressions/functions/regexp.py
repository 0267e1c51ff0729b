"""Functions with regular expressions."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import regexp_values as r
from anomaly_app.expressions.functions.registry import Entry, Function
from anomaly_app.schema import (
    BOOLEAN,
    INT,
    STRING,
    DataType,
    Kind,
)

_TEXTS = DataType(Kind.ARRAY, element=STRING)

FUNCTIONS: Mapping[str, Entry] = {
    "REGEXP": Function(r.regexp, "TT", BOOLEAN),
    "REGEXP_LIKE": Function(r.regexp, "TT", BOOLEAN),
    "REGEXP_REPLACE": Function(r.regexp_replace, "TTT", STRING, nullable=True),
    "REGEXP_EXTRACT": Function(r.regexp_extract, "TT?I", STRING, nullable=True),
    "REGEXP_EXTRACT_ALL": Function(r.regexp_extract_all, "TT?I", _TEXTS, nullable=True),
    "REGEXP_COUNT": Function(r.regexp_count, "TT", INT, nullable=True),
    "REGEXP_INSTR": Function(r.regexp_instr, "TT", INT, nullable=True),
    "REGEXP_SUBSTR": Function(r.regexp_substr, "TT", STRING, nullable=True),
    "STR_TO_MAP": Function(r.str_to_map, "T?TT", DataType(Kind.MAP, key=STRING, element=STRING)),
}
