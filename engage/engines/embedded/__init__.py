"""The engine of this process: transformers models on a CPU or a GPU, batched over whatever is pending."""
