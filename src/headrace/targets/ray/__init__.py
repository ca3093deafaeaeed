"""A fleet on a Ray cluster: an actor per node holds its GPUs and runs its agent.

Ray places and starts; no request and no answer passes through it. `ray` is imported by the placer
alone, which is a process of its own: a base install does not have it.
"""
