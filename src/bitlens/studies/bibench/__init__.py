"""BiBench's view of a table of methods: tasks, nets, corruptions, training cost, size, hardware.

After Qin et al., "BiBench: Benchmarking and Analyzing Network Binarization", ICML 2023
(arXiv 2301.11233), for the trained nets of finished comparisons.
"""
