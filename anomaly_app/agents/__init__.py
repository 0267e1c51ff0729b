"""Faust wiring: which topics feed which agents."""
