"""Drift: distances, the tolerance, and evidence over time."""
