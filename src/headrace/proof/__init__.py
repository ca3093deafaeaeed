"""Predicted beside measured: the load that proves a plan, and what came of it."""
