"""Scenes: images with a class for every pixel, a depth for every pixel, or both."""
