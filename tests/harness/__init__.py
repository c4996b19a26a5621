"""A stand-in for GitHub's runner: starts the action's container as it does, reads what that leaves."""
