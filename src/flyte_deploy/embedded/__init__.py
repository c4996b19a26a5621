"""A Flyte control plane in one process, for trying, testing and previewing.

It keeps what is registered and runs nothing. It answers as Flyte's open-source backend does, upserts and
oddities included, but holds requests to the API's own rules, which that does not check. Importing this
package loads the server: do it where it is used.
"""

from flyte_deploy.embedded.database import Call, read_calls, read_deploy_requests, read_tasks
from flyte_deploy.embedded.doors import LoginSide, Tls
from flyte_deploy.embedded.server import PROJECTS, Embedded, running, serve
from flyte_deploy.embedded.watch import READS, Fault

__all__ = [
    "PROJECTS",
    "READS",
    "Call",
    "Embedded",
    "Fault",
    "LoginSide",
    "Tls",
    "read_calls",
    "read_deploy_requests",
    "read_tasks",
    "running",
    "serve",
]
