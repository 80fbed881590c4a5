"""Training: the recipe, the loop, checkpoints, run folders and paired comparisons."""
