"""The project: its interpreter, its files, its commit."""
