"""Holds ``flyte-deploy`` against the unmodified ``flyte deploy``: what both register has to be equal."""
