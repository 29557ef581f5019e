"""Benchmarks: each compares two ways of doing the same work in one run and returns plain figures. A cycle uses none of them."""
