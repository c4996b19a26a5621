"""Serialized requests: what they are (content), what is written into them (stamp), when two are the same."""
