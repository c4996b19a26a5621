"""The API's own rules for requests, which flyteidl2 carries."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING

from connectrpc.errors import ConnectError
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from google.protobuf.message import Message

from flyte_deploy.embedded.listing import invalid

if TYPE_CHECKING:
    from protovalidate import Validator, Violation


class Rules:
    """Holds requests to flyteidl2's rules. Loading and compiling them begins at once, in the background."""

    def __init__(self, background: Executor) -> None:
        self._validator = background.submit(_load)

    def check(self, request: Message) -> None:
        """Check a request.

        Raises:
            ConnectError: INVALID_ARGUMENT, naming every rule that is broken.
        """
        violations = self._validator.result().collect_violations(request)
        if violations:
            broken = [text for text in map(_describe, violations) if text]
            if broken:
                raise _error(broken)


def _load() -> Validator:
    from protovalidate import Validator

    validator = Validator()
    validator.collect_violations(DeployTaskRequest())
    return validator


def _describe(violation: Violation) -> str:
    """The broken rule in words, empty for one that the open-source backend lives with."""
    field, rule = violation.proto.field, violation.proto.rule_id
    path = [element.field_name for element in (field.elements if field else ())]
    last = path[-1] if path else ""
    # It runs without organizations.
    if last in ("org", "organization") and rule == "string.min_len":
        return ""
    # It cuts them.
    if last in ("description", "short_description", "long_description") and rule == "string.max_len":
        return ""
    # It wants an MD5 or a folder, and says so itself.
    if path == ["content_md5"] and violation.field_value == b"":
        return ""
    message = violation.proto.message or rule
    return f"{'.'.join(path)}: {message}" if path else message


def _error(broken: list[str]) -> ConnectError:
    return invalid(f"validation error: {'; '.join(broken)}")
