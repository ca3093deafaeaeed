"""The load generator: loads any OpenAI-compatible server and measures it truthfully."""
