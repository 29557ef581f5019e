"""Files and JSON: what users bring is read strictly, what is written is written whole, and both have hashes."""
