"""The servers that run on the GPUs: stock vLLM, or its simulation."""
