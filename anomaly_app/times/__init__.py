"""Dates and times as SQL and Java have them: calendar, units, texts, patterns and zones; pure functions of values."""
