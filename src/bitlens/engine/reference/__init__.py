"""The packed graph run by slow and obvious numpy: the truth that the kernels are held against."""
