"""What runs between the deployer and the project's code; its contract is in `enter.py`."""

FAILED = 125
"""The exit status of a confinement that failed."""
