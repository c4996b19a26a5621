"""Credentials of clouds: each SDK's own chain, and GitHub's OIDC in the place of stored keys.

Nothing here keeps a credential longer than the run, or writes one anywhere.
"""
