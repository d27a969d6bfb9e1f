"""From a trajectory to its flux: predicted frame by frame, summed over groups, kept."""
