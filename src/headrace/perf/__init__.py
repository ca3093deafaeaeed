"""The performance model: memory, operators, step time, steady state. Pure."""
