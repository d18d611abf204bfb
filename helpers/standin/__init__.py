"""Drawn stand-in cells in the layout of C-NMC 2019."""
