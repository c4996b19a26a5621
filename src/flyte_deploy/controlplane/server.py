"""A server of the API: the services behind a line, who calls them, and whether it ever answered."""

from __future__ import annotations

import re
from collections.abc import Callable

from flyteidl2.auth.auth_service_pb2_grpc import AuthMetadataServiceStub
from flyteidl2.cluster.service_pb2_grpc import ClusterServiceStub
from flyteidl2.dataproxy.dataproxy_service_pb2_grpc import DataProxyServiceStub
from flyteidl2.imagebuilder.service_pb2_grpc import ImageServiceStub
from flyteidl2.project.project_service_pb2_grpc import ProjectServiceStub
from flyteidl2.task.task_service_pb2_grpc import TaskServiceStub
from flyteidl2.trigger.trigger_service_pb2_grpc import TriggerServiceStub
from flyteidl2.workflow.run_service_pb2_grpc import RunServiceStub

from flyte_deploy.controlplane.bearer import Bearer, Shown
from flyte_deploy.controlplane.diagnose import diagnose
from flyte_deploy.controlplane.line import Caller, Line
from flyte_deploy.errors import DeployError

_PROBE = 5.0
"""Seconds for a look whether Connect comes through."""

# What grpc says of answers that are none of gRPC's.
STRANGE = re.compile(
    r"http2 header with status|HTTP status \d+|content-type|Data frame with END_STREAM|missing grpc-status"
    "|missing selected ALPN",
    re.IGNORECASE,
)


class Server:
    """A line, the services behind it, who calls them, and whether it ever answered.

    Args:
        line: where to.
        show: gives what calls show; None where they show nothing.
        bearer: told of calls that are not let in; None where nobody logs in.
    """

    def __init__(
        self, line: Line, show: Callable[[], Shown] | None = None, bearer: Bearer | None = None
    ) -> None:
        self.endpoint = line.endpoint
        self.answered = False
        self.bearer = bearer
        self._show = show
        self._line = line
        channel = Caller(line, self.show)
        self._looked: set[str] = set()
        self.auth = AuthMetadataServiceStub(channel)  # type: ignore[no-untyped-call]
        self.tasks = TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        self.triggers = TriggerServiceStub(channel)  # type: ignore[no-untyped-call]
        self.projects = ProjectServiceStub(channel)  # type: ignore[no-untyped-call]
        self.clusters = ClusterServiceStub(channel)  # type: ignore[no-untyped-call]
        self.data_proxy = DataProxyServiceStub(channel)  # type: ignore[no-untyped-call]
        self.images = ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        self.runs = RunServiceStub(channel)  # type: ignore[no-untyped-call]

    def show(self) -> Shown:
        """What a call shows now.

        Raises:
            DeployError: where there is no token to be had.
        """
        return self._show() if self._show else Shown()

    def diagnose(self, seconds: float) -> DeployError | bool:
        """Why it cannot be reached, where waiting would not help; True where another way has been taken.

        Looked into once, for some seconds.
        """
        if "contact" in self._looked or self._line.over_http:
            return False
        self._looked.add("contact")
        found = diagnose(self.endpoint, self._line.network, seconds)
        if found == "http":
            return self._go_on_over_http()
        return found or False

    def answers_strangely(self, details: str) -> bool:
        """Told what a call failed with: whether that was no gRPC, and Connect has been taken in its place."""
        if self._line.over_http or "answer" in self._looked or not STRANGE.search(details):
            return False
        self._looked.add("answer")
        return self._go_on_over_http()

    def _go_on_over_http(self) -> bool:
        if self._line.probe(_PROBE):
            self._line.switch()
            return True
        return False
