"""The command line against an embedded control plane."""

from tests.deploy.conftest import cli, server

__all__ = ["cli", "server"]
