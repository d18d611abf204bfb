"""Scores with intervals: tables in, tables out."""
