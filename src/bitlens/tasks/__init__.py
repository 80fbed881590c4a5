"""Tasks: what a net is trained to do, its losses and its metrics."""
