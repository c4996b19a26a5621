"""Asking where a file may be uploaded to."""

from __future__ import annotations

import grpc
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.dataproxy.dataproxy_service_pb2 import CreateUploadLocationRequest

from flyte_deploy.controlplane.channel import Endpoint
from flyte_deploy.controlplane.client import ControlPlane
from flyte_deploy.controlplane.listing import project_id
from flyte_deploy.controlplane.server import Server
from flyte_deploy.controlplane.unary import Call, Refused, Work
from flyte_deploy.errors import DeployError
from flyte_deploy.model import Target
from flyte_deploy.stores import AlreadyExists, UploadLocation


class Uploads:
    """The upload locations of a target. The cluster that keeps its files is asked for once.

    Args:
        control_plane: the control plane; it has to stay open.
        target: whose files they are.
    """

    def __init__(self, control_plane: ControlPlane, target: Target) -> None:
        self._plane = control_plane
        self._target = target
        self._server: Server | None = None

    def create_upload_location(
        self,
        *,
        filename: str,
        filename_root: str,
        content_md5: bytes | None,
        content_length: int | None,
        add_content_md5_metadata: bool,
    ) -> UploadLocation:
        """Ask for a place for a file. Nothing is written by this.

        Args:
            filename: its name.
            filename_root: the folder it lies in; empty for one named after the MD5.
            content_md5: the file's MD5, 16 bytes.
            content_length: its size in bytes.
            add_content_md5_metadata: whether the MD5 is kept beside the file, so that later uploads can be
                compared with it.

        Raises:
            AlreadyExists: where a file lies there already; without an MD5 whatever it holds, with one only
                where it holds something else.
            DeployError: where the control plane refuses, or cannot be asked.
        """
        if self._server is None:
            self._server = self._plane.do(
                select_cluster(
                    self._plane, self._target, SelectClusterRequest.OPERATION_CREATE_UPLOAD_LOCATION
                )
            )
        request = CreateUploadLocationRequest(
            org=self._target.org,
            project=self._target.project,
            domain=self._target.domain,
            filename=filename,
            filename_root=filename_root,
            add_content_md5_metadata=add_content_md5_metadata,
        )
        if content_md5 is not None:
            request.content_md5 = content_md5
        if content_length is not None:
            request.content_length = content_length
        return self._plane.do(_location(self._server, request))


def _location(server: Server, request: CreateUploadLocationRequest) -> Work[UploadLocation]:
    doing = f"asking where to upload '{request.filename}'"
    try:
        answer = yield Call(server, server.data_proxy.CreateUploadLocation, request, doing)
    except Refused as refused:
        if refused.code is grpc.StatusCode.ALREADY_EXISTS:
            raise AlreadyExists(refused.details) from None
        raise
    return UploadLocation(answer.signed_url, answer.native_url, dict(answer.headers))


def select_cluster(
    control_plane: ControlPlane, target: Target, operation: SelectClusterRequest.Operation
) -> Work[Server]:
    """The work of finding the server that is to be called for something that concerns a target."""
    own = control_plane.server
    request = SelectClusterRequest(project_id=project_id(target), operation=operation)
    try:
        answer = yield Call(own, own.clusters.SelectCluster, request, "selecting a cluster")
    except Refused as refused:
        if refused.code is grpc.StatusCode.UNIMPLEMENTED:
            return own
        raise
    return control_plane.other(cluster_endpoint(answer.cluster_endpoint, own.endpoint))


def cluster_endpoint(answer: str, own: Endpoint) -> Endpoint:
    """Where the answer of SelectCluster points to.

    The scheme in it does not count: behind a proxy the open-source backend does not know its own. A control
    plane that is spoken to by TLS cannot make its clients go on in plaintext.
    """
    rest = (answer.partition("://")[2] or answer).strip("/")
    if not rest or rest.lower() in (own.address, own.address.rpartition(":")[0]):
        return own
    insecure = own.insecure and not answer.startswith("https://")
    try:
        return Endpoint.parse(f"{'http' if insecure else 'https'}://{rest}")
    except DeployError as error:
        raise DeployError(
            f"the control plane names a cluster at '{answer}', which is no address: {error.what}",
            where=str(own),
            mend="This is for whoever runs the control plane to mend.",
        ) from None
