"""The contract of a binarization method as clauses that any `Method` can be run against.

It lives in the room of models because a promise about a method is a promise about a layer that uses it:
the clauses build a binary convolution and a binary linear layer around the method and look at both.
`check` in `bitlens.models.conformance.check` runs them all; `bitlens doctor NAME` prints the outcome.
"""
