"""Finds genetic variants: align reads, check their quality, call what differs, annotate it."""
