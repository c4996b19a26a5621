"""API keys of Flyte: Base64 of endpoint, client, secret and organisation, joined by colons."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from flyte_deploy.errors import DeployError
from flyte_deploy.secrets import SECRETS

_AGAIN = "Make a new key, or give the endpoint, the client and its secret one by one (docs/backends.md)."


@dataclass(frozen=True)
class ApiKey:
    """What a key holds. `host` has neither scheme nor port; `org` may be empty."""

    host: str
    client_id: str
    secret: str = field(repr=False)
    org: str = ""

    @classmethod
    def decode(cls, text: str, where: str) -> ApiKey:
        """Read a key. It and its secret are known as secrets from here on.

        Args:
            text: the key.
            where: what gave it, for messages, which never hold any of it but the host.

        Raises:
            DeployError: for what is no key, and for one whose endpoint holds a scheme or a port: the encoding
                cannot carry them.
        """
        SECRETS.add(text, own=True)
        try:
            plain = base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            raise _bad("it is not Base64 of a text", where) from None
        parts = plain.split(":")
        if len(parts) > 1 and (parts[0] in ("dns", "http", "https") or parts[1].startswith("//")):
            SECRETS.add(*parts[2:])
            raise _bad("its endpoint holds a scheme, which the encoding cannot carry", where)
        if len(parts) > 4 and parts[1].isdecimal():
            SECRETS.add(*parts[2:])
            raise _bad("its endpoint holds a port, which the encoding cannot carry", where)
        if len(parts) != 4:
            SECRETS.add(*parts[1:])
            raise _bad(f"it has {len(parts)} parts, where 4 are expected", where)
        host, client_id, secret, org = (part.strip() for part in parts)
        SECRETS.add_login(client_id, secret, own=True)
        if not (host and client_id and secret):
            raise _bad("its endpoint, client or secret is empty", where)
        if "/" in host:
            raise _bad(f"its endpoint, {host!r}, is no host", where)
        # The SDK writes this word where there is none.
        return cls(host.lower(), client_id, secret, "" if org == "None" else org)


def _bad(why: str, where: str) -> DeployError:
    return DeployError(f"the API key cannot be used: {why}", where=where, mend=_AGAIN, usage=True)
