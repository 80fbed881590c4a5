"""Kernels, compiled for the CPU they run on, and the slow references beside them."""
