"""Thin Prefect tasks: one engage call each."""
