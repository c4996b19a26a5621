"""Requests and bundles without what differs by design."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flyteidl2.task.common_pb2 import Inputs
from flyteidl2.task.task_service_pb2 import DeployTaskRequest
from google.protobuf.json_format import MessageToDict

_ADDRESS = re.compile(r"0x[0-9a-f]{9,16}")
_SYS_PATH = "_F_SYS_PATH"


def normal(request: DeployTaskRequest) -> dict[str, Any]:
    """A request as plain data, less version, bundle address, actor version and source link.

    Addresses of uploaded defaults are replaced by what was uploaded, offloaded inputs by the inputs.
    """
    copy = DeployTaskRequest()
    copy.CopyFrom(request)
    copy.task_id.version = copy.spec.task_template.id.version = "<version>"
    copy.spec.documentation.ClearField("source_code")
    if not copy.spec.documentation.ByteSize():
        copy.spec.ClearField("documentation")
    template = copy.spec.task_template
    template.metadata.ClearField("image_build_run")
    if template.metadata.code_bundle_uri:
        template.metadata.code_bundle_uri = "<bundle>"
    if template.HasField("container"):
        template.container.args[:] = _arguments(list(template.container.args))
        for variable in template.container.env:
            if variable.key == _SYS_PATH:
                variable.value = _sys_path(variable.value)
    if template.type == "actor" and "version" in template.custom.fields:
        template.custom["version"] = "<actor>"
    for trigger in copy.triggers:
        if trigger.spec.HasField("offloaded_input_data"):
            folder = _local(trigger.spec.offloaded_input_data.uri)
            trigger.spec.inputs.CopyFrom(Inputs.FromString((folder / "inputs.pb").read_bytes()))
    data: dict[str, Any] = _clean(MessageToDict(copy, preserving_proto_field_name=True))
    return data


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("name") == _SYS_PATH and isinstance(value.get("value"), str):
            return {**value, "value": _sys_path(value["value"])}
        return {
            key: _arguments(item)
            if key == "args" and isinstance(item, list) and all(isinstance(entry, str) for entry in item)
            else _clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        if value.startswith("file://") and _local(value).exists():
            return _uploaded(_local(value))
        return _ADDRESS.sub("0x", value)
    return value


def _arguments(arguments: list[str]) -> list[str]:
    found = list(arguments)
    for index, argument in enumerate(found[:-1]):
        if argument == "--version":
            found[index + 1] = "<version>"
        elif argument == "--tgz":
            found[index + 1] = "<bundle>"
        elif argument == "--image-cache":
            found[index + 1] = _image_cache(found[index + 1])
    return found


def _image_cache(text: str) -> str:
    try:
        cache = json.loads(gzip.decompress(base64.b64decode(text)))
    except (ValueError, OSError):
        return text
    return f"images {json.dumps(cache['image_lookup'], sort_keys=True)}"


def _sys_path(text: str) -> str:
    # The peer repeats entries, leaves ".." in them, and sends folders of an interpreter below the root.
    entries = [posixpath.normpath(entry) for entry in text.split(":") if entry]
    return ":".join(dict.fromkeys(entry for entry in entries if "site-packages" not in entry))


def _local(address: str) -> Path:
    return Path(address.removeprefix("file://"))


def _uploaded(path: Path) -> str:
    """What was uploaded: a file's name and digest, or those of a folder's files."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digests = [
        f"{file.relative_to(path) if path.is_dir() else file.name} "
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in files
    ]
    return f"<uploaded: {', '.join(digests)}>"


def bundle_address(request: DeployTaskRequest) -> str:
    """The address of a request's bundle, empty if it has none."""
    return request.spec.task_template.metadata.code_bundle_uri


def bundle_files(address: str) -> dict[str, bytes]:
    """The files of a bundle in a folder, by path."""
    with tarfile.open(_local(address)) as tar:
        files = {}
        for member in tar.getmembers():
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                files[member.name.removeprefix("./")] = stream.read()
    return files


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where two pieces of plain data differ, a line each with the field's path."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: ours {_short(ours)}, theirs {_short(theirs)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 400 else text[:400] + "…"
