"""The quick way through the usual packets, compiled by numba. Needs the extra."""
