"""The vLLM engine, started and used from this process."""
