"""A policy as settings: what is deployed where, and where what is made for it goes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from flyte_deploy.action.events import Facts, Policy
from flyte_deploy.records.record import PREVIEWS
from flyte_deploy.settings import EMBEDDED, Settings

_LOGINS = re.compile(r"^(FLYTE|UNION)\w*(KEY|SECRET|TOKEN|PASSWORD|COMMAND)\w*$")


def facts_of(environ: Mapping[str, str], settings: Settings) -> Facts:
    """What the environment of a job says, besides its event."""
    return Facts(
        ref=environ.get("GITHUB_REF", ""),
        sha=environ.get("GITHUB_SHA", ""),
        repository=environ.get("GITHUB_REPOSITORY", ""),
        actor=environ.get("GITHUB_ACTOR", ""),
        credentials=has_credentials(environ, settings),
    )


def has_credentials(environ: Mapping[str, str], settings: Settings) -> bool:
    """Whether there is anything to log in with, or no need to."""
    if settings.insecure or settings.endpoint in ("", EMBEDDED):
        return bool(settings.endpoint)
    if settings.config_path is not None:
        # Whatever logs in may be named there.
        return True
    return any(value and _LOGINS.match(name) for name, value in environ.items()) or bool(
        environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    )


def applied(settings: Settings, policy: Policy) -> Settings:
    """The settings of a run under a policy.

    A preview writes its bundles below a prefix of its own and no layer cache that others read.
    """
    if policy.do in ("skip", "post-comment"):
        return settings
    changes: dict[str, object] = {
        "project": policy.project,
        "domain": policy.domain,
        "triggers": settings.triggers and policy.triggers,
        "compare_to": settings.compare_to or policy.compare_to,
        "dry_run": settings.dry_run or policy.do == "plan",
    }
    if policy.do == "release":
        changes |= {
            "version": policy.version,
            "reuse_from": settings.reuse_from or policy.reuse_from,
            "reuse_version": settings.reuse_version or settings.version,
            "reuse_branch": settings.reuse_branch or policy.reuse_branch,
            # A tag that carries other content is refused, whatever pushes of the same workflow may do.
            "overwrite": False,
        }
    elif policy.version:
        changes["version"] = policy.version
    if policy.number:
        changes |= {
            "preview": True,
            "untrusted": True,
            "bundle_store": settings.bundle_store.rstrip("/") + PREVIEWS if settings.bundle_store else "",
            "cache_to": tuple(map(_own_cache, settings.cache_to)),
            "cache_from": (*settings.cache_from, *map(_own_cache, settings.cache_to)),
            # Pull requests alternate: their versions are not replaced, and their triggers not pruned.
            "overwrite": False,
        }
    if policy.offline:
        changes["endpoint"] = ""
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def _own_cache(cache: str) -> str:
    """A layer cache beside the one that is named, which only previews write."""
    if "=" not in cache:
        return f"{cache}-preview"
    fields = dict(field.partition("=")[::2] for field in cache.split(","))
    kind = fields.get("type", "")
    for name in {"registry": ("ref",), "gha": ("scope",), "local": ("dest", "src")}.get(kind, ("name",)):
        if name in fields:
            fields[name] = f"{fields[name]}-preview"
        elif kind == "gha":
            fields[name] = "preview"
    return ",".join(f"{name}={value}" for name, value in fields.items())
