"""Model facts from a config.json; packaged configs of well-known models."""
