"""Whom connections over TLS trust, beside the machine's own authorities."""

from __future__ import annotations

import ssl
from pathlib import Path

from flyte_deploy.errors import DeployError


def trusting(ca_cert: Path | None) -> ssl.SSLContext:
    """Trust in the machine's authorities and, beside them, in those of a PEM file.

    The machine's are OpenSSL's: SSL_CERT_FILE and SSL_CERT_DIR, else the system's file.

    Raises:
        DeployError: for a file that cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_cert is None:
        return context
    try:
        context.load_verify_locations(ca_cert)
    except ssl.SSLError:
        problem = "holds no certificate"
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    else:
        return context
    raise DeployError(
        f"the file of certificate authorities {problem}",
        where=str(ca_cert),
        mend="Give --ca-cert a PEM file: text with -----BEGIN CERTIFICATE----- in it.",
        usage=True,
    )
