"""Helpers of the notebook series: one module per step, in the order the data flows."""

__version__ = "0.1.0"
