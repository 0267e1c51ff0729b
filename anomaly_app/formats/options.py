"""Options of the formats, as Flink names them, without the prefix that they have in a WITH clause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_JSON = frozenset(
    {
        "ignore-parse-errors",
        "timestamp-format.standard",
        "map-null-key.mode",
        "map-null-key.literal",
        "encode.decimal-as-plain-number",
        "encode.ignore-null-fields",
    }
)

FORMATS: Mapping[str, frozenset[str]] = {
    "json": _JSON | {"fail-on-missing-field", "decode.json-parser.enabled"},
    "csv": frozenset(
        {
            "field-delimiter",
            "disable-quote-character",
            "quote-character",
            "allow-comments",
            "ignore-parse-errors",
            "array-element-delimiter",
            "escape-character",
            "null-literal",
            "write-bigdecimal-in-scientific-notation",
        }
    ),
    "avro-confluent": frozenset(
        {
            "url",
            "subject",
            "schema",
            "basic-auth.credentials-source",
            "basic-auth.user-info",
            "bearer-auth.credentials-source",
            "bearer-auth.token",
            "ssl.keystore.location",
            "ssl.keystore.password",
            "ssl.truststore.location",
            "ssl.truststore.password",
            "properties",
        }
    ),
    "raw": frozenset({"charset", "endianness"}),
    "debezium-json": _JSON | {"schema-include"},
}
"""Name of a format and the names of its options."""

CHANGE_FORMATS = frozenset({"debezium-json"})
"""Formats whose records say what becomes of a row; the others are of rows."""


class OptionError(ValueError):
    """An option of a format has a wrong value.

    Args:
        key: name of the option without its prefix.
        problem: what is wrong and what would be right.
    """

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(f"'{key}': {problem}")


def format_options(name: str) -> frozenset[str]:
    """Names of a format's options; raises ``KeyError`` for an unknown format.

    Example:
        >>> sorted(format_options("raw"))
        ['charset', 'endianness']
    """
    return FORMATS[name]


@dataclass(frozen=True, slots=True)
class JsonOptions:
    """Options of ``json``."""

    fail_on_missing_field: bool = False
    ignore_parse_errors: bool = False
    iso_timestamps: bool = False
    null_key_mode: str = "FAIL"
    null_key_literal: str = "null"
    plain_decimals: bool = False
    ignore_null_fields: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> JsonOptions:
        """From the texts of a WITH clause; raises :class:`OptionError`."""
        standard = _one_of(options, "timestamp-format.standard", ("SQL", "ISO-8601"))
        if _flag(options, "fail-on-missing-field") and _flag(options, "ignore-parse-errors"):
            raise OptionError("ignore-parse-errors", "it excludes 'fail-on-missing-field': give only one of them")
        return cls(
            _flag(options, "fail-on-missing-field"),
            _flag(options, "ignore-parse-errors"),
            standard == "ISO-8601",
            _one_of(options, "map-null-key.mode", ("FAIL", "DROP", "LITERAL")),
            options.get("map-null-key.literal", "null"),
            _flag(options, "encode.decimal-as-plain-number"),
            _flag(options, "encode.ignore-null-fields"),
        )


@dataclass(frozen=True, slots=True)
class DebeziumOptions:
    """Options of ``debezium-json``; ``json`` are those of the rows in it."""

    json: JsonOptions = JsonOptions()
    schema_include: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> DebeziumOptions:
        """From the texts of a WITH clause; raises :class:`OptionError`."""
        return cls(JsonOptions.parse(options), _flag(options, "schema-include"))


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """Options of ``csv``; ``quote`` is None if quoting is disabled."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    null_literal: str | None = None
    allow_comments: bool = False
    ignore_parse_errors: bool = False
    array_delimiter: str = ";"
    scientific_decimals: bool = True

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> CsvOptions:
        """From the texts of a WITH clause; raises :class:`OptionError`."""
        quote: str | None = _character(options, "quote-character") or '"'
        if _flag(options, "disable-quote-character"):
            if "quote-character" in options:
                raise OptionError("disable-quote-character", "it excludes 'quote-character': give only one of them")
            quote = None
        return cls(
            _character(options, "field-delimiter") or ",",
            quote,
            _character(options, "escape-character"),
            options.get("null-literal"),
            _flag(options, "allow-comments"),
            _flag(options, "ignore-parse-errors"),
            options.get("array-element-delimiter", ";"),
            _flag(options, "write-bigdecimal-in-scientific-notation", "true"),
        )


@dataclass(frozen=True, slots=True)
class RawOptions:
    """Options of ``raw``."""

    charset: str = "UTF-8"
    endianness: str = "big-endian"

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> RawOptions:
        """From the texts of a WITH clause; raises :class:`OptionError`."""
        charset = options.get("charset", "UTF-8")
        try:
            "".encode(charset)
        except LookupError:
            raise OptionError("charset", f"{charset!r} is not a known character set") from None
        return cls(charset, _one_of(options, "endianness", ("big-endian", "little-endian")))


@dataclass(frozen=True, slots=True)
class AvroOptions:
    """Options of ``avro-confluent``; ``user_info`` is ``user:password`` and stays out of every message."""

    url: str | None = None
    subject: str | None = None
    schema: str | None = None
    user_info: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> AvroOptions:
        """From the texts of a WITH clause; raises :class:`OptionError`."""
        _one_of(options, "basic-auth.credentials-source", ("USER_INFO", "URL"))
        url = options.get("url")
        if url is not None and not url.split(",")[0].strip().startswith(("http://", "https://")):
            raise OptionError("url", "it must begin with http:// or https://")
        user_info = options.get("basic-auth.user-info")
        if user_info is not None and ":" not in user_info:
            raise OptionError("basic-auth.user-info", "it must be user:password")
        return cls(url, options.get("subject"), options.get("schema"), user_info)


Options = JsonOptions | CsvOptions | RawOptions | AvroOptions | DebeziumOptions

_PARSERS: Mapping[str, Callable[[Mapping[str, str]], Options]] = {
    "json": JsonOptions.parse,
    "csv": CsvOptions.parse,
    "avro-confluent": AvroOptions.parse,
    "raw": RawOptions.parse,
    "debezium-json": DebeziumOptions.parse,
}


def parse_options(name: str, options: Mapping[str, str]) -> Options:
    """Checked options of a format.

    Args:
        name: of the format.
        options: name without prefix, and value.

    Raises:
        KeyError: there is no such format.
        OptionError: a value is wrong.

    Example:
        >>> parse_options("csv", {"field-delimiter": "||"})
        Traceback (most recent call last):
        anomaly_app.formats.options.OptionError: 'field-delimiter': '||' must be a single character
    """
    return _PARSERS[name](options)


def _flag(options: Mapping[str, str], key: str, default: str = "false") -> bool:
    return _one_of(options, key, ("true", "false"), default, folded=True) == "true"


def _one_of(
    options: Mapping[str, str], key: str, allowed: tuple[str, ...], default: str = "", *, folded: bool = False
) -> str:
    value = options.get(key, default or allowed[0])
    value = value.strip().lower() if folded else value
    if value not in allowed:
        raise OptionError(key, f"{value!r} must be one of {', '.join(repr(name) for name in allowed)}")
    return value


def _character(options: Mapping[str, str], key: str) -> str | None:
    value = options.get(key)
    if value is None:
        return None
    unescaped = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}.get(value, value)
    if len(unescaped) != 1:
        raise OptionError(key, f"{value!r} must be a single character")
    return unescaped
