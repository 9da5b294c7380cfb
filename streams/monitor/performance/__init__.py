"""Figures of a window: one file an idea, each with its source. Room: pure.

A figure that cannot be computed is None with a reason, never 0, 0.5 or an exception.
"""
