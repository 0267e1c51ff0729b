"""Bytes of records to values of columns and back: JSON, CSV, Avro in the Confluent wire format, raw."""

from anomaly_app.formats.options import FORMATS, OptionError, format_options, parse_options

__all__ = ["FORMATS", "OptionError", "format_options", "parse_options"]
