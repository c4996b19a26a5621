"""Distances and zones, for whoever needs them."""

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"
