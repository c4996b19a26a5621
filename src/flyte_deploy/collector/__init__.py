"""The script that runs in the project's interpreter (`inside`), and its parent side."""
