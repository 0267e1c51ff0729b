"""The relational core: queries to a tree of logical nodes, and that to a graph of operators."""
