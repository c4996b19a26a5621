"""Flyte's API, as a client: what is registered, and registering."""

from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.inputs import offload_trigger_inputs
from flyte_deploy.controlplane.registration import Interrupted, Outcome, Registration, register, verify
from flyte_deploy.controlplane.triggers import LiveTrigger
from flyte_deploy.controlplane.unary import Retry
from flyte_deploy.controlplane.uploads import Uploads

__all__ = [
    "ControlPlane",
    "Endpoint",
    "Interrupted",
    "LiveTrigger",
    "Outcome",
    "Registration",
    "Retry",
    "Uploads",
    "offload_trigger_inputs",
    "register",
    "verify",
]
