"""Training: the loop, losses, optimiser, alarms, checkpoints, several processes, CUDA graphs."""
