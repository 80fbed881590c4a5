"""Freezing: from a trained torch net to a packed graph that was checked against it bit by bit."""
