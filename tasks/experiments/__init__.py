"""Tasks of experiments; a night uses none of them."""
