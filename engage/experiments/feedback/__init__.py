"""How well a simulated user tells what people thought of single turns, beside regressions fitted to people's own scores."""
