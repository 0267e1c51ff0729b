"""The test kit: brokers and registries that run on this machine alone, without Docker."""
