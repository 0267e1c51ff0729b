"""Logical nodes to a graph of operators: one module for each family of steps, put together in :mod:`.graph`."""
