"""What the pictures of all studies are drawn with: plain SVG and panels."""
