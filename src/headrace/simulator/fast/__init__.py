"""The quick core: the same simulation as `reference`, compiled by numba. Needs the extra."""
