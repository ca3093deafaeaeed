"""The search over vLLM's flags: candidates, rules, choice, Pareto front, reasons. Pure."""
