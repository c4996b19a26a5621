"""What actions of others leave in the workspace that is nobody's code: credentials."""

from __future__ import annotations

import fnmatch

PATTERNS = ("gha-creds-*.json", "gha-kubeconfig-*")
"""Files of google-github-actions: those of auth, and of get-gke-credentials."""


def is_left_by_actions(name: str) -> bool:
    """Whether a file of this name, without its folder, is one of them."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in PATTERNS)
