"""Keyed state on RocksDB with a changelog topic."""
