"""What the environments of this project share: the image and the pod."""

import flyte
from kubernetes.client import V1Container, V1EnvVar, V1PodSpec, V1Toleration

IMAGE = "ghcr.io/flyteorg/flyte:py3.13-v2.12.1"

BATCH_POD = flyte.PodTemplate(
    pod_spec=V1PodSpec(
        containers=[V1Container(name="primary", env=[V1EnvVar(name="TZ", value="Europe/Berlin")])],
        tolerations=[V1Toleration(key="batch", operator="Exists", effect="NoSchedule")],
        termination_grace_period_seconds=60,
    ),
    primary_container_name="primary",
    labels={"team": "demand"},
    annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
)
"""Runs on nodes kept for batch work, is not moved, and has a minute to stop."""
