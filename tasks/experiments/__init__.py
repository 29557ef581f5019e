"""Tasks of experiments: nothing that a night needs."""
