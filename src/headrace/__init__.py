"""Headrace: plan, start, load and prove a fleet of stock vLLM servers."""

__version__ = "0.1.0"
