"""What all listings of Flyte's API have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flyteidl2.common.identifier_pb2 import ProjectIdentifier
from flyteidl2.common.list_pb2 import Filter, ListRequest, Sort

from flyte_deploy.model import Target

PAGE = 200
"""The most that a page may hold."""


def page(token: str, filters: Sequence[Filter], sort_by: Sequence[str]) -> ListRequest:
    """The request for one page.

    It is sorted by names: they do not move between pages while somebody else registers, as times do.
    """
    return ListRequest(
        limit=PAGE,
        token=token,
        filters=filters,
        sort_by_fields=[Sort(key=key, direction=Sort.ASCENDING) for key in sort_by],
    )


def one_of(field: str, values: Sequence[str]) -> Filter:
    """A filter for rows whose field has one of the values."""
    # The backend fails on a list of one value.
    function = Filter.EQUAL if len(values) == 1 else Filter.VALUE_IN
    return Filter(function=function, field=field, values=values)


def chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Parts of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def project_id(target: Target) -> ProjectIdentifier:
    """The target as the API names a project."""
    return ProjectIdentifier(organization=target.org, domain=target.domain, name=target.project)
