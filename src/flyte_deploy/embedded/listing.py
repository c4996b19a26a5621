"""Flyte's list requests as SQL: paging, filters, order; answers and errors as the open-source backend's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common.list_pb2 import Filter, ListRequest, Sort

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

TEXT, NUMBER, TIME, BOOLEAN = "text", "number", "time", "boolean"

_COMPARISONS = {
    Filter.EQUAL: "=",
    Filter.NOT_EQUAL: "!=",
    Filter.GREATER_THAN: ">",
    Filter.GREATER_THAN_OR_EQUAL: ">=",
    Filter.LESS_THAN: "<",
    Filter.LESS_THAN_OR_EQUAL: "<=",
}
_PATTERNS = {
    Filter.CONTAINS: ("{} LIKE ? ESCAPE '\\'", "%{}%"),
    Filter.ENDS_WITH: ("{} LIKE ? ESCAPE '\\'", "%{}"),
    Filter.NOT_ENDS_WITH: ("{} NOT LIKE ? ESCAPE '\\'", "%{}"),
    Filter.CONTAINS_CASE_INSENSITIVE: ("lower({}) LIKE lower(?) ESCAPE '\\'", "%{}%"),
}


@dataclass(frozen=True)
class Condition:
    """A condition in SQL, and the values of its placeholders."""

    sql: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class Page:
    """Which rows a list request asks for. `order` is empty where it does not say."""

    limit: int
    offset: int
    conditions: tuple[Condition, ...]
    order: str

    def token(self, rows: int) -> str:
        """The token of the next page, after one of so many rows. A full page has one, the last one too."""
        return str(self.offset + self.limit) if rows and rows == self.limit else ""


def read_page(request: ListRequest, columns: Mapping[str, str]) -> Page:
    """Read a list request.

    Args:
        request: the request.
        columns: what may be filtered and sorted by, and its kind.

    Raises:
        ConnectError: INVALID_ARGUMENT where the request is wrong; INTERNAL where the backend's database
            would refuse it.
    """
    limit = request.limit or DEFAULT_LIMIT
    if limit > MAX_LIMIT:
        raise invalid(f"invalid limit: {limit} (exceeds maximum of {MAX_LIMIT})")
    sorts = request.sort_by_fields or ([request.sort_by] if request.sort_by.key else [])
    return Page(
        limit=limit,
        offset=read_token(request.token),
        conditions=tuple(_condition(each, columns) for each in request.filters),
        order=read_order(sorts, columns),
    )


def read_token(token: str) -> int:
    """The offset that a token stands for."""
    if token and not (token.isascii() and token.isdecimal()):
        raise invalid(f"invalid token: {token!r}")
    return int(token or 0)


def read_order(sorts: Sequence[Sort], columns: Mapping[str, str]) -> str:
    """The order in SQL, empty for none."""
    for each in sorts:
        if each.key not in columns:
            raise invalid(f"invalid sort field: {each.key}")
    return ", ".join(f"{each.key} {'ASC' if each.direction == Sort.ASCENDING else 'DESC'}" for each in sorts)


def where(*conditions: Condition) -> tuple[str, tuple[object, ...]]:
    """Conditions joined: an SQL expression that is never empty, and its values."""
    values = tuple(value for each in conditions for value in each.values)
    return " AND ".join(f"({each.sql})" for each in conditions) or "1", values


def equal(**values: object) -> Condition:
    """The condition that columns have these values."""
    return Condition(" AND ".join(f"{name} = ?" for name in values), tuple(values.values()))


def invalid(message: str) -> ConnectError:
    """The error for a wrong argument."""
    return ConnectError(Code.INVALID_ARGUMENT, message)


def _condition(given: Filter, columns: Mapping[str, str]) -> Condition:
    field, function = given.field, given.function
    if field not in columns:
        raise invalid(f"failed to convert filters: invalid filter field: {field}")
    if function not in _COMPARISONS and function not in _PATTERNS and function != Filter.VALUE_IN:
        raise invalid(f"failed to convert filters: unsupported filter function: {function}")
    if not given.values:
        raise invalid(f"failed to convert filters: filter {field} has no values")
    if (len(given.values) > 1) != (function == Filter.VALUE_IN):
        # It hands its database a text where that wants a list, or the other way round.
        raise ConnectError(Code.INTERNAL, f"failed to list: filter {field} has {len(given.values)} values")
    if function in _PATTERNS:
        sql, pattern = _PATTERNS[function]
        return Condition(sql.format(field), (pattern.format(given.values[0]),))
    values = tuple(_value(text, columns[field]) for text in given.values)
    if function == Filter.VALUE_IN:
        return Condition(f"{field} IN ({', '.join('?' * len(values))})", values)
    return Condition(f"{field} {_COMPARISONS[function]} ?", values)


def _value(text: str, kind: str) -> object:
    try:
        if kind == NUMBER:
            return int(text)
        if kind == BOOLEAN:
            return {"true": 1, "t": 1, "1": 1, "false": 0, "f": 0, "0": 0}[text.lower()]
        if kind == TIME:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            return int(moment.timestamp() * 1_000_000)
    except (ValueError, KeyError):
        raise ConnectError(Code.INTERNAL, f"failed to list: {text!r} is no {kind}") from None
    return text
