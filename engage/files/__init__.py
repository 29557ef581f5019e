"""Files and JSON: strict reading of users' files, atomic writing, hashes."""
