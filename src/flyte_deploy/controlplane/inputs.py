"""Trigger inputs that the backend keeps out of its own database."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.common.run_pb2 import OffloadedInputData
from flyteidl2.dataproxy.dataproxy_service_pb2 import UploadInputsRequest
from flyteidl2.task.task_service_pb2 import DeployTaskRequest

from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.listing import project_id
from flyte_deploy.controlplane.server import Server
from flyte_deploy.controlplane.unary import Call, Refused, Work, run_all
from flyte_deploy.controlplane.uploads import select_cluster
from flyte_deploy.model import Target


def offload_trigger_inputs(
    control_plane: ControlPlane, target: Target, requests: Sequence[DeployTaskRequest]
) -> None:
    """Upload the inputs of the requests' triggers, and put where they lie in their place.

    Inputs are addressed by their content there: uploading them again changes nothing. A backend that keeps no
    inputs elsewhere (it answers UNIMPLEMENTED) gets them inline, as they are.

    Args:
        control_plane: the control plane.
        target: whose triggers they are.
        requests: changed in place.
    """
    wanted = [(request, trigger) for request in requests for trigger in request.triggers]
    wanted = [pair for pair in wanted if pair[1].spec.inputs.literals]
    if not wanted:
        return
    try:
        server = control_plane.do(
            select_cluster(control_plane, target, SelectClusterRequest.OPERATION_UPLOAD_TRIGGER)
        )
    except Refused as refused:
        if refused.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        return
    calls = []
    for request, trigger in wanted:
        upload = UploadInputsRequest(inputs=trigger.spec.inputs, project_id=project_id(target))
        # The task is not registered yet, so that its spec goes along instead of its name.
        upload.task_spec.CopyFrom(request.spec)
        calls.append(_upload(server, upload))
    stored = run_all(calls, concurrency=control_plane.concurrency, retry=control_plane.retry)
    for (_, trigger), data in zip(wanted, stored, strict=True):
        if data is not None:
            trigger.spec.offloaded_input_data.CopyFrom(data)


def _upload(server: Server, request: UploadInputsRequest) -> Work[OffloadedInputData | None]:
    try:
        answer = yield Call(server, server.data_proxy.UploadInputs, request, "uploading a trigger's inputs")
    except Refused as refused:
        if refused.code is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise
    data: OffloadedInputData = answer.offloaded_input_data
    return data
