"""An OpenAI-compatible server whose GPUs are simulated."""
