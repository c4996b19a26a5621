"""Ask image registries what they hold: in this process, over HTTP, all at once.

Source: the OCI distribution specification (https://github.com/opencontainers/distribution-spec) and, for the
tokens, https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flyte_deploy.errors import DeployError
from flyte_deploy.http import without_query
from flyte_deploy.images.auth import Credentials, docker_auth
from flyte_deploy.images.reference import Reference
from flyte_deploy.images.tokens import Authorizer, Challenge
from flyte_deploy.images.transport import AT_ONCE, Answer, NoTlsError, Transport

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join((*_INDEXES, *_MANIFESTS))
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Registries:
    """What image registries hold. May be used by several threads; nothing is remembered but tokens.

    A registry on loopback, or one of `insecure`, is reached over TLS, or without if it knows none.

    Args:
        credentials: the logins.
        tls: gives whom to trust, as `flyte_deploy.tls.trusting` does; the machine's authorities by default.
        insecure: registries, ``host`` or ``host:port``, that may do without TLS or a good certificate.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        insecure: Collection[str] = (),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._credentials = credentials
        self._transport = Transport(tls, insecure, pause)
        self._authorizer = Authorizer(credentials, self._token_request)

    def digests(self, references: Sequence[str]) -> dict[str, str | None]:
        """The digest (``sha256:…``) of each image, None where the registry has none of that name.

        All are asked at once. For an image of several platforms it is that of the index.

        Raises:
            DeployError: for an address that is none, a registry that is down, refuses, or answers something
                else than a registry does. Where several fail, the first says what the matter is, and the
                others are in the details.
        """
        wanted = {text: Reference.parse(text) for text in references}
        return dict(zip(wanted, self._each(self._digest, wanted.values()), strict=True))

    def docker_auth(self, hosts: Iterable[str]) -> dict[str, Any]:
        """The logins of some registries, as `flyte_deploy.images.auth.docker_auth` has them."""
        return docker_auth(hosts, self._credentials)

    def platforms(self, reference: str) -> tuple[str, ...]:
        """The platforms that an image is there for, such as ``linux/amd64``, ``linux/arm/v7``.

        Raises:
            DeployError: as for `digests`, and where there is no such image.
        """
        image = Reference.parse(reference)
        answer = self._get(image, "GET", f"manifests/{image.which}")
        if answer is None:
            raise DeployError("there is no such image", where=reference, mend="Mend its name or tag.")
        document = self._document(answer, image)
        if "manifests" in document:
            platforms = [entry.get("platform") or {} for entry in document["manifests"]]
        else:
            digest = str((document.get("config") or {}).get("digest", ""))
            config = self._get(image, "GET", f"blobs/{digest}") if _DIGEST.fullmatch(digest) else None
            if config is None:
                raise _no_registry(image, "a manifest without a configuration")
            platforms = [self._document(config, image)]
        # Attestations stand beside the images, for a platform that is none.
        return tuple(dict.fromkeys(filter(None, map(_platform, platforms))))

    def _each(
        self, ask: Callable[[Reference], str | None], images: Iterable[Reference]
    ) -> Iterator[str | None]:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="registry") as threads:
            futures = [threads.submit(ask, image) for image in images]
        errors = {str(error): error for future in futures if (error := future.exception()) is not None}
        for error in errors.values():
            if not isinstance(error, DeployError):
                raise error
        failures = [error for error in errors.values() if isinstance(error, DeployError)]
        if failures:
            first, *others = failures
            details = (*first.details, *(str(error).splitlines()[0] for error in others))
            raise DeployError(first.what, where=first.where, mend=first.mend, details=details)
        return (future.result() for future in futures)

    def _digest(self, image: Reference) -> str | None:
        path = f"manifests/{image.which}"
        answer = self._get(image, "HEAD", path)
        if answer is None:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if _DIGEST.fullmatch(digest) and not answer.is_html:
            return digest
        # It may leave the header out; then the manifest itself tells.
        answer = self._get(image, "GET", path)
        if answer is None:
            return None
        self._document(answer, image)
        return "sha256:" + hashlib.sha256(answer.body).hexdigest()

    def _document(self, answer: Answer, image: Reference) -> dict[str, Any]:
        if answer.is_html:
            raise _no_registry(image, "a web page")
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise _no_registry(image, "something that is no manifest")
        return document

    def _get(self, image: Reference, method: str, path: str) -> Answer | None:
        """The answer to a question about an image, None for 404."""
        answer = self._authorized(image, method, path)
        if answer.status in (401, 403) and self._credentials.of(image.host) is not None:
            # Some registries deny what does not exist yet to who may only read, and not to who may write.
            wider = self._authorized(image, method, path, actions="pull,push")
            answer = wider if wider.status in (200, 404) else answer
        if answer.status == 200:
            return answer
        if answer.status == 404 and not answer.is_html:
            return None
        if method == "HEAD":
            # The answer to a HEAD says no reason.
            said = self._authorized(image, "GET", path)
            answer = said if said.status == answer.status else answer
        raise self._refusal(image, answer)

    def _authorized(self, image: Reference, method: str, path: str, actions: str = "pull") -> Answer:
        headers = {"Accept": _ACCEPT}
        path = f"/v2/{image.repository}/{path}"
        known = self._authorizer.known(image, actions)
        if known:
            headers["Authorization"] = known
        answer = self._transport.ask(image.host, method, path, headers)
        if answer.status != 401:
            return answer
        challenge = Challenge.parse(answer.headers.get("WWW-Authenticate", ""))
        if challenge is None:
            return answer
        authorization = self._authorizer.authorize(image, challenge, actions)
        if authorization is None or authorization == known:
            return answer
        return self._transport.ask(image.host, method, path, {**headers, "Authorization": authorization})

    def _refusal(self, image: Reference, answer: Answer) -> DeployError:
        if answer.is_html:
            return _no_registry(image, f"a web page (status {answer.status})")
        said = f": {answer.words}" if answer.words else ""
        if answer.status in (401, 403):
            login = self._credentials.of(image.host)
            how = f"as {login.user or 'its bearer'} ({login.source})" if login else "without a login"
            return DeployError(
                f"the registry {image.host} does not let us read {image.repository}, asked {how}{said}",
                where=image.name,
                mend=f"Log in with --registry-auth {image.host}=USER:VARIABLE, or `docker login`, as who may "
                "read and write it."
                if login is None
                else "Give that user the right to read and write it, or log in as another one.",
                details=self._credentials.problems(image.host),
            )
        return DeployError(
            f"the registry {image.host} answers with status {answer.status}{said}", where=image.name
        )

    def _token_request(
        self, image: Reference, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        try:
            answer = self._transport.send(method, url, headers, body)
        except NoTlsError as error:
            raise DeployError(
                f"the token server of {image.host} is not reached over TLS: {error}",
                where=without_query(url),
                mend="Name its authority with --ca-cert.",
            ) from None
        return answer.status, answer.body


def _platform(found: Mapping[str, Any]) -> str:
    parts = [str(found.get(name) or "") for name in ("os", "architecture", "variant")]
    if "unknown" in parts[:2] or not all(parts[:2]):
        return ""
    # Every 64-bit ARM is version 8.
    if parts[1:] == ["arm64", "v8"]:
        parts.pop()
    return "/".join(filter(None, parts))


def _no_registry(image: Reference, what: str) -> DeployError:
    return DeployError(
        f"{image.host} answers with {what}, which is not what a registry does",
        where=image.name,
        mend="Mend the registry's address; a proxy or a login page may stand before it.",
    )
