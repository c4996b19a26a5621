"""GitHub's side: the action's inputs, its log, its outputs, and process 1 of its container."""
