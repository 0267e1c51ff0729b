"""From a query as a tree to logical nodes: one module for each family of steps, put together in :mod:`.analyzer`."""
