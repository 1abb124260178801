"""The sans-IO peer that the live mesh and the simulator share. Imports `wire` (and errors, numpy), nothing else."""
