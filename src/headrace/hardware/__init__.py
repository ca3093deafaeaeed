"""GPU catalog: every figure with its source and date; the user's file overrides it."""
