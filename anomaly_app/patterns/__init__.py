"""Row patterns: the MATCH_RECOGNIZE clause as an operator."""
