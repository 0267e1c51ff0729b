"""What is told to whom, and when: pure decisions about alerts, and no sending."""
