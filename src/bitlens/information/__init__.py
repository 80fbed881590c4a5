"""Mutual information of a net's layers with its input and with the labels: exact on stored samples."""
