"""Measurements: each beside the bare loop that does the same work without us. Ratios, never a test."""
