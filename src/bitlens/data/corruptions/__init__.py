"""Fifteen corruptions of images in five severities, seeded, for any size, grey or color.

The set follows the idea of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", ICLR 2019: the same fifteen names. The formulas, the strengths
and the random draws are our own, so accuracies are not comparable with those on CIFAR-10-C.
"""
