"""Rules that read English turns in any domain: crisis, deception, which language, and the text patterns they are made of."""
