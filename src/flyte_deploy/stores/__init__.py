"""Where bundles go. A store says whether a bundle is there, and puts it there; each kind is a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from flyte_deploy.errors import DeployError
from flyte_deploy.model import Bundle

if TYPE_CHECKING:
    from flyte_deploy.cloud import CloudSettings

Listen = Callable[[int, int], None]
"""Told of the bytes sent so far, and of all, 0 where that is not known yet. The first figure starts again
when an upload is repeated."""

Say = Callable[[str], None]
"""Told, in words, of what a reader should look at."""


class Store(Protocol):
    """A place for bundles, which knows them by their digest."""

    def find(self, bundle: Bundle) -> str | None:
        """The address of the bundle's archive, as the task container reads it; None if it is not there whole.

        Writes nothing, and reads no more than it must to know. What is there and broken is said.

        Raises:
            DeployError: if the store cannot be asked.
        """

    def publish(self, bundle: Bundle, progress: Listen) -> str:
        """Pack the bundle, put the archive into the store, and return its address.

        Where this fails, or is killed, nothing is left that `find` takes for the archive. Several may publish
        one bundle at the same time: what is there whole is never replaced, what is broken is.

        Raises:
            DeployError: if the bundle cannot be packed or stored.
        """

    def describe(self) -> str:
        """The place, in words for people."""


class AlreadyExists(Exception):  # noqa: N818 - the name of the API's status
    """There is an object of this name already, and its content is not known to be the same."""


@dataclass(frozen=True)
class UploadLocation:
    """Where an object may be put: with what request, and the address that it is read from afterwards.

    `headers` are those that the request must carry. `signed_url` is a credential: it is not shown.
    """

    signed_url: str = field(repr=False)
    native_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Uploads(Protocol):
    """The control plane's side of uploading, for one project and domain."""

    def create_upload_location(
        self,
        *,
        filename: str,
        filename_root: str,
        content_md5: bytes | None,
        content_length: int | None,
        add_content_md5_metadata: bool,
    ) -> UploadLocation:
        """Ask where an object may be put. Writes nothing.

        Args:
            filename: the object's name, the last part of its address.
            filename_root: the part before it.
            content_md5: 16 bytes, None if not known.
            content_length: in bytes, None if not known.
            add_content_md5_metadata: whether the object is to remember its MD5.

        Raises:
            AlreadyExists: if there is such an object, with another MD5 or none to compare.
            DeployError: if the control plane cannot be asked, or refuses.
        """


def open_store(
    address: str | None,
    *,
    uploads: Uploads | None,
    cloud: CloudSettings | None = None,
    say: Say | None = None,
) -> Store:
    """The store of an address.

    Args:
        address: None or "" for the control plane's own storage; ``s3://bucket/prefix``,
            ``gs://bucket/prefix``; ``file:///folder`` for a folder.
        uploads: the control plane; None where there is none.
        cloud: how clouds are reached.
        say: told of what is broken there, if anybody wants to know.

    Raises:
        DeployError: for an address of no known kind, or one that needs a control plane where there is none.
    """
    kind, separator, _ = (address or "").partition("://")
    if not address:
        if uploads is None:
            raise DeployError(
                "there is no control plane to upload the bundle to",
                where="--bundle-store",
                mend="Name one with --endpoint, or a store with --bundle-store.",
                usage=True,
            )
        from flyte_deploy.stores.signed_url import SignedUrlStore
        from flyte_deploy.tls import Network

        return SignedUrlStore(uploads, Network(cloud.ca_cert if cloud else None))
    if separator and kind == "file":
        from flyte_deploy.stores.folder import open_folder

        return open_folder(address)
    if separator and kind in ("s3", "gs"):
        from flyte_deploy.cloud import CloudSettings

        cloud = cloud or CloudSettings()
        say = say or (lambda _: None)
        if kind == "s3":
            from flyte_deploy.stores.s3 import open_s3

            return open_s3(address, cloud, say)
        from flyte_deploy.stores.gs import open_gs

        return open_gs(address, cloud, say)
    raise DeployError(
        f"{address!r} is not the address of a bundle store",
        where="--bundle-store",
        mend="Leave it out for the control plane's own storage, or write s3://bucket/prefix, "
        "gs://bucket/prefix or file:///absolute/path.",
        usage=True,
    )
