"""A scorer for unattended series: an ensemble of detectors that gives a number from 0 to 1."""
