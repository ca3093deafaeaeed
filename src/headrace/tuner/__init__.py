"""Measured search: one started fleet serves several loads, and each result makes the next pick."""
