"""What the load generator's benchmarks share, and the other tools that they compare it with."""
