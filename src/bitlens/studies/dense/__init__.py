"""Dense prediction: what finished comparisons of segmentation and depth show, in numbers and pictures."""
