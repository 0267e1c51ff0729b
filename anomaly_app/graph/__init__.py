"""The operators of a plan joined to a graph: rows of one or more inputs through all nodes of a query.

The contract that a graph and its operators follow is in ``anomaly_app/operators.py``.
"""
