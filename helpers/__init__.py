"""Helpers of the notebook series: one module per step, in the order the data flows."""

import os

# Else TensorFlow's start-up notes fill the first cells of a notebook with red.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
