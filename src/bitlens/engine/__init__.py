"""The 1-bit engine: a trained net as one small file, run with xnor and popcount.

`pack` freezes a net into a graph (`graph.py`) and checks it against the net bit by bit, `format.py`
writes and reads it, `plan.py` turns it into a program for `kernels/`, `session.py` runs it. Nothing
that runs a file imports torch.
"""
