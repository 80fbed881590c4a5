"""The `.bits` file: what may be in it, and how it is written, read and checked."""
