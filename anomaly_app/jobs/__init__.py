"""Jobs: what a worker or ``query()`` runs, bound from SQL, and one partition of it at work."""
