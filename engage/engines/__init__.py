"""Implementations of the Engine protocol; each imports what it needs when it is created."""
