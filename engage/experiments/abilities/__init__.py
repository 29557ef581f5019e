"""Whether a trained policy still does what its base could: `engage experiment abilities`.

200 short instructions of our own, ten kinds of twenty, each with an answer that a program can check. They show what a training broke; they do
not rank models: the checks were written beside the replies of a small base model, and a larger one would need harder instructions.
"""
