"""Models that foretell the next value of a series, bounds around the forecast, and their SQL functions."""
