"""GitHub's side: inputs, log, outputs; the container action."""
