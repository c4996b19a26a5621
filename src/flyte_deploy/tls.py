"""How servers are reached: whom connections over TLS trust, and through which proxy they go."""

from __future__ import annotations

import atexit
import os
import pkgutil
import shutil
import ssl
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from flyte_deploy.errors import DeployError


@dataclass(frozen=True)
class Network:
    """How the control plane, and what belongs to it, are reached.

    Args:
        ca_cert: a PEM file of authorities that are trusted beside the machine's own.
        verify: False where any certificate will do.
        proxy: address of the proxy to go through; empty for the one that the environment names, if it does.
    """

    ca_cert: Path | None = None
    verify: bool = True
    proxy: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """What connections over TLS are made with.

        Raises:
            DeployError: for a file that cannot be read, or holds no certificate.
        """
        if self.verify:
            return trusting(self.ca_cert)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


def trusting(ca_cert: Path | None) -> ssl.SSLContext:
    """Trust in the machine's authorities and, beside them, in those of a PEM file.

    The machine's are OpenSSL's: SSL_CERT_FILE and SSL_CERT_DIR, else the system's file.

    Raises:
        DeployError: for a file that cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    # From Python 3.13 on certificates have to be as RFC 5280 wants them in every detail. Those of companies'
    # own authorities often are not; neither gRPC nor older Pythons ask for it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
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


def roots_file(ca_cert: Path | None = None) -> str | None:
    """A file of the certificates that servers are checked against, for libraries that want a file.

    What SSL_CERT_FILE names, else the system's file; with `ca_cert` a file of this process that holds both.
    None where there is none, so that the library's own count. So an authority that a company has added is
    known to all of them.

    Raises:
        DeployError: for a `ca_cert` that cannot be used.
    """
    machine = os.environ.get("SSL_CERT_FILE", "") or ssl.get_default_verify_paths().cafile
    return machine if ca_cert is None else _together(machine or "", ca_cert)


def roots(ca_cert: Path | None) -> bytes | None:
    """The same as text, for gRPC, whose own variable counts beside; None for those that it brings along.

    Raises:
        DeployError: for a `ca_cert` that cannot be used.
    """
    paths = ssl.get_default_verify_paths()
    own = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    machine = paths.cafile or (paths.capath and f"{paths.capath}/ca-certificates.crt")
    found = [Path(one).read_bytes() for one in (own, machine) if one and Path(one).is_file()]
    if ca_cert is not None:
        trusting(ca_cert)
        if not found:
            found.append(pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b"")
        found.append(ca_cert.read_bytes())
    return b"\n".join(found) if found else None


@cache
def _together(machine: str, ca_cert: Path) -> str:
    trusting(ca_cert)
    if not machine:
        import certifi

        machine = certifi.where()
    folder = Path(tempfile.mkdtemp(prefix="flyte-deploy-roots-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "roots.pem"
    file.write_bytes(Path(machine).read_bytes() + b"\n" + ca_cert.read_bytes())
    return str(file)
