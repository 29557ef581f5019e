"""SQL as data: one statement a file, named after its result. Read by engage.store only."""
