"""What an image's address says of its content."""

from __future__ import annotations

import re

PREVIEW_SUFFIX = "-preview"
"""What the names of repositories end in that previews push to."""

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
# Our own tags have 40 digits, those of Flyte's SDK 32: either is a digest of what the image is built from.
_CONTENT_TAG = re.compile(r":([0-9a-f]{40}|[0-9a-f]{32})$")
_PREVIEW = re.compile(rf"{PREVIEW_SUFFIX}(:[\w.-]+)?$")


def without_rebuilds(address: str) -> str:
    """The address, less a digest beside a tag that names the content: building that again gives another one.

    Where somebody wrote the digest, it is the content.
    """
    plain = _DIGEST.sub("", address)
    return plain if _CONTENT_TAG.search(plain) else address


def image_identity(address: str) -> str:
    """Equal for two addresses of one content: `without_rebuilds`, and less what marks a preview's."""
    plain = without_rebuilds(address)
    return _PREVIEW.sub(r"\1", plain) if _CONTENT_TAG.search(plain) else plain


def is_of_a_preview(address: str) -> bool:
    """Whether a preview has pushed it."""
    return _PREVIEW.search(_DIGEST.sub("", address)) is not None
