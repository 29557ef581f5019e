"""The engine of servers: whatever speaks OpenAI's chat completions, with what each server refuses or leaves out."""
