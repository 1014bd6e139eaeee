"""Benchmarks: each compares the portal with a minimal loop that does the same work. Not tests."""
