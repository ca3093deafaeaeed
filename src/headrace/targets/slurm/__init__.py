"""A fleet as a Slurm job: one node agent per node, started by srun."""
