"""What Ray and Slurm share: a node's part of a fleet, and the process that holds the whole."""
