"""Do float nets fit first and compress later, and binary nets both at once? Measured, with controls."""
