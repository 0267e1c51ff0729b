"""``anomaly sql``: statements typed one after the other, over topics as they are now."""
