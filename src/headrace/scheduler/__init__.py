"""Continuous batching as vLLM does it; the clock is the caller's. Pure."""
