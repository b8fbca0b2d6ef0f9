"""Policy: what is made of findings. Nothing here asks anything."""
