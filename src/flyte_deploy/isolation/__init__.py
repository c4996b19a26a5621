"""Keeping the project's code from everything else, with what works without any capability of the container.

`inside/` is a program of the standard library alone. It starts as the deployer, gives up what the code is not
to have, and becomes the code's program. The rest says what that is (`confinement.py`), and serves to make the
place that the code works in (`staging.py`, `mounts.py`, `users.py`).
"""

from pathlib import Path

BASE = Path("/var/lib/flyte-deploy")
"""Where the workplace is made in the container. It is always the same: environments hold its path."""
