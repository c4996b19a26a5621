"""What takes long to load."""
