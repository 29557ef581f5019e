"""The shipped scenarios and dialogues, as JSON Lines of our own writing."""
