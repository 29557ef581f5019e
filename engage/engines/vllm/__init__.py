"""The engine of vLLM in this process."""
