"""A policy as settings: what is deployed where, and where what is made for it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from flyte_deploy import login
from flyte_deploy.action.events import Facts, Policy
from flyte_deploy.settings import EMBEDDED, Settings


def facts_of(environ: Mapping[str, str], settings: Settings) -> Facts:
    """What the environment of a job says, besides its event."""
    return Facts(
        ref=environ.get("GITHUB_REF", ""),
        sha=environ.get("GITHUB_SHA", ""),
        repository=environ.get("GITHUB_REPOSITORY", ""),
        actor=environ.get("GITHUB_ACTOR", ""),
        missing=missing_login(environ, settings),
    )


def missing_login(environ: Mapping[str, str], settings: Settings) -> str:
    """Why there is nothing to log in to the control plane with; empty where there is, or need not be.

    Credentials that are wrong are not missing: a deploy fails with them.
    """
    if not settings.endpoint:
        return "no control plane is named"
    if settings.insecure or settings.endpoint == EMBEDDED:
        return ""
    return login.missing(settings, environ)


def unchecked(settings: Settings, policy: Policy) -> str:
    """What a run cannot find out without a token of GitHub; empty where it needs none."""
    if settings.dry_run:
        return ""
    if policy.do == "preview":
        return "without github-token nobody sees whether the pull request is closed while its preview runs"
    if policy.do == "push" and policy.branch and settings.if_stale == "skip":
        return (
            f"without github-token nobody sees whether {policy.branch} moves on meanwhile: a run that was"
            " overtaken makes its version the newest (if-stale: deploy says that it may)"
        )
    return ""


def applied(settings: Settings, policy: Policy) -> Settings:
    """The settings of a run under a policy.

    A preview writes its bundles below a prefix of its own and no layer cache that others read. Code of
    strangers gets nothing of what the workflow would pass to it.
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
            "base_store": settings.bundle_store,
            "bundle_store": f"{settings.bundle_store.rstrip('/')}/previews" if settings.bundle_store else "",
            "cache_to": tuple(map(_own_cache, settings.cache_to)),
            "cache_from": (*settings.cache_from, *map(_read_back, map(_own_cache, settings.cache_to))),
            # Pull requests alternate: their versions are not replaced, and their triggers not pruned.
            "overwrite": False,
        }
    if policy.offline:
        changes["endpoint"] = ""
    if policy.stranger:
        changes |= {"discovery_network": "none", "pass_env": ()}
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


_NAMES_OF_CACHES = {
    "registry": ("ref", ""),
    "local": ("dest", ""),
    "gha": ("scope", "buildkit"),
    "s3": ("name", "buildkit"),
    "azblob": ("name", "buildkit"),
}
"""What tells caches of layers of a kind apart, and what BuildKit calls one that says nothing."""


def _own_cache(cache: str) -> str:
    """A layer cache beside the one that is named, which only previews write."""
    if "=" not in cache:
        return f"{cache}-preview"
    fields = _fields_of(cache)
    name, usual = _NAMES_OF_CACHES.get(fields.get("type", ""), ("", ""))
    if fields.get(name) or usual:
        # S3 takes several names.
        names = (fields.get(name) or usual).split(";")
        fields[name] = ";".join(f"{one}-preview" for one in names)
    return ",".join(f"{name}={value}" for name, value in fields.items())


def _read_back(cache: str) -> str:
    """How a layer cache that is written is read."""
    fields = _fields_of(cache)
    if fields.get("type") == "local" and "dest" in fields:
        return f"type=local,src={fields['dest']}"
    return cache


def _fields_of(cache: str) -> dict[str, str]:
    return dict(field.partition("=")[::2] for field in cache.split(","))
