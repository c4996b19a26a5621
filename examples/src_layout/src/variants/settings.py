"""What all environments of the package have in common."""

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"
REFERENCE = "ACGTTGCAACGTGGCTAAC"
