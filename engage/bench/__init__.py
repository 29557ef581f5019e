"""Benchmarks: each compares within one run and returns plain figures. Nothing here is used by a cycle."""
