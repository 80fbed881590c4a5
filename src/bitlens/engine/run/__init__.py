"""Running: from a packed graph to a program, from images to answers; only `torch_op` imports torch."""
