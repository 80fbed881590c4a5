"""The study's figures: plain SVG, one a file."""
