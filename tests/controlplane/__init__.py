"""Tests of the client of Flyte's API."""
