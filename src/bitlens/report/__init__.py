"""Reads run folders; draws one self-contained HTML page and the tables of the terminal."""
