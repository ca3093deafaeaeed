"""Stock vLLM: its options by version, its processes, its metrics."""
