"""Which store an address means."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flyte_deploy.errors import DeployError
from flyte_deploy.stores import open_store

from .storage import ControlPlane, Storage


@pytest.mark.parametrize("address", [None, ""])
def test_none_is_the_control_planes_own(address: str | None) -> None:
    assert "control plane" in open_store(address, uploads=ControlPlane(Storage())).describe()
    with pytest.raises(DeployError, match="no control plane") as caught:
        open_store(address, uploads=None)
    assert caught.value.usage


@pytest.mark.parametrize("address", ["s3://", "gs://", "s3:///x", "gs:///x", "s3://b/../x", "gs://b/./x"])
def test_an_address_without_a_bucket_is_a_usage_error(address: str) -> None:
    with pytest.raises(DeployError, match="names no bucket") as caught:
        open_store(address, uploads=None)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    "address", ["/tmp/x", "bundles", "ftp://host/x", "file:/x", "file://x/y", "file://", "s3:x"]
)
def test_anything_else_is_a_usage_error_with_a_mend(address: str) -> None:
    with pytest.raises(DeployError) as caught:
        open_store(address, uploads=ControlPlane(Storage()))
    assert caught.value.usage
    assert "file:///" in str(caught.value.mend)
    assert repr(address) in caught.value.what


def test_a_plan_loads_no_http_client() -> None:
    script = (
        "import sys, flyte_deploy.bundle, flyte_deploy.stores as s; s.open_store('file:///x', uploads=None);"
        "print([m for m in ('urllib3', 'ssl', 'pathspec', 'boto3', 'google.auth') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
