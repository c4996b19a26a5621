"""What is registered: its history, and registering it again or elsewhere without its code."""
