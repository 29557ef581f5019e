"""Rules that read English turns in any domain: crisis, deception, language, money, and the patterns that they use."""
