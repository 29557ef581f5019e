"""The engine for servers that offer OpenAI's chat completions; it adapts to what each server refuses or omits."""
