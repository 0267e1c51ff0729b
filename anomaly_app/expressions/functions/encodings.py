"""Functions between texts, bytes and digests."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.expressions import encodings as e, text_values as t, urls
from anomaly_app.expressions.functions.registry import Entry, Function
from anomaly_app.schema import (
    BIGINT,
    BYTES,
    INT,
    STRING,
    DataType,
    Kind,
)


def _digest(name: str, length: int) -> tuple[Function, ...]:
    helper = getattr(e, name)
    return tuple(Function(helper, letter, DataType(Kind.CHAR, length)) for letter in "TY")


FUNCTIONS: Mapping[str, Entry] = {
    "MD5": _digest("md5", 32),
    "SHA1": _digest("sha1", 40),
    "SHA224": _digest("sha224", 56),
    "SHA256": _digest("sha256", 64),
    "SHA384": _digest("sha384", 96),
    "SHA512": _digest("sha512", 128),
    "SHA2": tuple(Function(e.sha2, letter + "I", DataType(Kind.VARCHAR, 128)) for letter in "TY"),
    "HASH_CODE": (
        Function(e.hash_text, "T", INT),
        Function(e.hash_boolean, "B", INT),
        Function(e.hash_long, "G", INT),
        Function(e.hash_double, "E", INT),
        Function(e.hash_float, "F", INT),
        Function(e.hash_decimal, "C", INT),
        Function(int, "H", INT, source=lambda value: value),
    ),
    "ASCII": Function(t.ascii_code, "T", INT),
    "CHR": Function(t.character, "I", STRING),
    "ENCODE": Function(e.encode, "TT", BYTES),
    "DECODE": Function(e.decode, "YT", STRING),
    "TO_BASE64": tuple(Function(e.to_base64, letter, STRING) for letter in "TY"),
    "FROM_BASE64": tuple(Function(e.from_base64, letter, STRING) for letter in "TY"),
    "URL_ENCODE": Function(e.url_encode, "T", STRING),
    "URL_DECODE": Function(e.url_decode, "T", STRING, nullable=True),
    "PARSE_URL": Function(urls.parse_url, "TT?T", STRING, nullable=True),
    "INET_ATON": Function(t.inet_aton, "T", BIGINT, nullable=True),
    "INET_NTOA": Function(t.inet_ntoa, "I", STRING, nullable=True),
}
