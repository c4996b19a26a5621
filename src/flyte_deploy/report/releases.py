"""Histories and promotions as text and JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from flyte_deploy.model import Target
from flyte_deploy.releases.history import Deployed
from flyte_deploy.releases.promotion import Promotion
from flyte_deploy.report.json import encoded
from flyte_deploy.report.text import plain


def history_text(target: Target, deployed: list[Deployed]) -> str:
    """A history as a table."""
    if not deployed:
        return f"Nothing is registered in {target}."
    rows = [("version", "registered", "tasks", "newest for", "what")]
    rows += [
        (one.version, one.created, str(len(one.tasks)), str(one.newest), plain(_what(one)))
        for one in deployed
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"Deployments to {target}:", ""]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join((*cells, row[4])).rstrip())
    return "\n".join(lines)


def _what(one: Deployed) -> str:
    record = one.record
    if one.problem:
        return one.problem
    if record is None:
        return ""
    parts = [f"{record.kind} of {record.source}" if record.source else record.kind]
    if record.commit:
        parts.append(f"commit {record.commit[:7]}")
    if record.actor:
        parts.append(f"by {record.actor}")
    if record.run:
        parts.append(record.run)
    return ", ".join(parts)


def history_json(target: Target, deployed: list[Deployed]) -> bytes:
    """A history as one JSON document."""
    document = {
        "schema": "flyte-deploy/history/1",
        "target": msgspec.to_builtins(target),
        "deployments": [
            {
                "version": one.version,
                "created": one.created,
                "tasks": list(one.tasks),
                "newest": one.newest,
                "record": msgspec.to_builtins(one.record) if one.record else None,
                "problem": one.problem,
            }
            for one in deployed
        ],
    }
    return encoded(document)


def promotion_text(promotion: Promotion, *, dry_run: bool) -> str:
    """What was, or would be, promoted or restored."""
    verb = "restore" if promotion.kind == "rollback" else "promote"
    count = len(promotion.registered)
    if not count:
        first = f"Nothing to do: {promotion.target} has it as {promotion.version}."
    elif dry_run:
        first = f"Would {verb} {promotion.source_version} from {promotion.source}: {count} tasks."
    else:
        first = f"{verb.capitalize()}d {promotion.source_version} from {promotion.source}: {count} tasks."
    lines = ["", first, f"  version  {promotion.version}", f"  target   {promotion.target}"]
    lines += [f"  bundle   {plain(bundle)}" for bundle in promotion.bundles]
    lines += [f"  image    {plain(image)}" for image in dict.fromkeys(promotion.images.values())]
    if promotion.triggers:
        lines.append(f"  triggers {plain(', '.join(promotion.triggers))}")
    replaced = sorted(set(promotion.replaced.values()))
    if replaced:
        lines.append(f"  replaces {', '.join(replaced[:10])}{' and others' if len(replaced) > 10 else ''}")
    if promotion.record_uri:
        lines.append(f"  record   {promotion.record_uri}")
    return "\n".join(lines)


def promotion_json(promotion: Promotion, *, dry_run: bool) -> bytes:
    """The same as one JSON document."""
    document: dict[str, Any] = {
        "schema": "flyte-deploy/promotion/1",
        "dry_run": dry_run,
        "kind": promotion.kind,
        "source": msgspec.to_builtins(promotion.source),
        "source_version": promotion.source_version,
        "target": msgspec.to_builtins(promotion.target),
        "version": promotion.version,
        "tasks": dict(promotion.tasks),
        "registered": list(promotion.registered),
        "replaced": dict(promotion.replaced),
        "bundles": list(promotion.bundles),
        "images": dict(promotion.images),
        "triggers": list(promotion.triggers),
        "notes": list(promotion.notes),
        "warnings": list(promotion.warnings),
        "record": msgspec.json.decode(promotion.record) if promotion.record else None,
        "record_uri": promotion.record_uri,
    }
    return encoded(document)
