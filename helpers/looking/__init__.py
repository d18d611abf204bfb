"""What the layers of a network see, and where it looks."""
