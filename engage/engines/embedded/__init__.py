"""The embedded engine: transformers models in this process, on a CPU or a GPU."""
