"""Bytes of records to values of columns and back: JSON, CSV, Avro in the Confluent wire format, raw."""
