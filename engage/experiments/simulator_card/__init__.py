"""The simulator card: how far simulated users are from the people of held-out dialogues, in figures with intervals."""
