"""Whether a format can hold a type: asked when a job is bound, long before there are records."""

from __future__ import annotations

from anomaly_app.formats.options import AvroOptions, CsvOptions, DebeziumOptions, JsonOptions, Options
from anomaly_app.schema import Column


def check_column(column: Column, options: Options) -> None:
    """Raise ``TypeError``, saying why, if a format with these options cannot read and write a column.

    Example:
        >>> from anomaly_app.schema import INT, DataType, Kind
        >>> check_column(Column("m", DataType(Kind.MAP, key=INT, element=INT)), CsvOptions())
        Traceback (most recent call last):
        TypeError: CSV cannot hold MAP<INT, INT>
    """
    # Each format's library is loaded only where a job uses it.
    if isinstance(options, (JsonOptions, DebeziumOptions)):
        from anomaly_app.formats.json import JsonDecoder

        JsonDecoder([column], options if isinstance(options, JsonOptions) else options.json)
    elif isinstance(options, CsvOptions):
        from anomaly_app.formats.csv import CsvEncoder

        CsvEncoder([column], options)
    elif isinstance(options, AvroOptions):
        from anomaly_app.formats.avro_types import AvroSchema
        from anomaly_app.formats.avro_writers import derive

        derive([(column.source_name, column.type)])
        if options.schema is not None:
            AvroSchema.parse(options.schema).fields()
    else:
        from anomaly_app.formats.raw import RawCodec

        RawCodec([column], options)
