"""Flyte's types as people write them in Python."""

from __future__ import annotations

from flyteidl2.core.literals_pb2 import Literal
from flyteidl2.core.types_pb2 import BlobType, LiteralType, SimpleType
from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct

from flyte_deploy.secrets import SECRETS
from flyte_deploy.specs.walk import change_text, without_memory_addresses

_SIMPLE = {
    SimpleType.NONE: "None",
    SimpleType.INTEGER: "int",
    SimpleType.FLOAT: "float",
    SimpleType.STRING: "str",
    SimpleType.BOOLEAN: "bool",
    SimpleType.DATETIME: "datetime",
    SimpleType.DURATION: "timedelta",
    SimpleType.BINARY: "bytes",
    SimpleType.ERROR: "error",
    SimpleType.STRUCT: "struct",
}
_LONGEST = 60
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def type_text(kind: LiteralType) -> str:
    """A type in words; two types that differ only in details may read the same."""
    which = kind.WhichOneof("type")
    if which == "simple":
        title = kind.metadata.fields["title"].string_value if "title" in kind.metadata.fields else ""
        return title or _SIMPLE.get(kind.simple, "object")
    if which == "collection_type":
        return f"list[{type_text(kind.collection_type)}]"
    if which == "map_value_type":
        return f"dict[str, {type_text(kind.map_value_type)}]"
    if which == "union_type":
        return " | ".join(type_text(variant) for variant in kind.union_type.variants)
    if which == "enum_type":
        return f"enum({', '.join(kind.enum_type.values)})"
    if which == "blob":
        multipart = kind.blob.dimensionality == BlobType.BlobDimensionality.MULTIPART
        form = f"[{kind.blob.format}]" if kind.blob.format else ""
        return ("Dir" if multipart else "File") + form
    if which in ("structured_dataset_type", "schema"):
        columns = ", ".join(column.name for column in getattr(kind, which).columns)
        return f"DataFrame[{columns}]" if columns else "DataFrame"
    return which or "object"


def type_identity(kind: LiteralType) -> bytes:
    """Equal for types that take the same values.

    Descriptions, how values are hashed, the values of defaults and memory addresses in names do not count.
    """
    copy = LiteralType()
    copy.CopyFrom(kind)
    change_text(copy, _plain)
    _strip(copy)
    return copy.SerializeToString(deterministic=True)


def _plain(text: str) -> str:
    return without_memory_addresses(text.encode()).decode()


def _strip(kind: LiteralType) -> None:
    kind.ClearField("annotation")
    kind.ClearField("structure")
    if kind.HasField("metadata"):
        _strip_schema(kind.metadata)
    which = kind.WhichOneof("type")
    if which in ("collection_type", "map_value_type"):
        _strip(getattr(kind, which))
    elif which == "union_type":
        variants = list(kind.union_type.variants)
        for variant in variants:
            _strip(variant)
        # int | str is str | int.
        ordered = sorted(variants, key=lambda variant: variant.SerializeToString(deterministic=True))
        copies = [LiteralType.FromString(variant.SerializeToString()) for variant in ordered]
        del kind.union_type.variants[:]
        kind.union_type.variants.extend(copies)


def _strip_schema(schema: Struct) -> None:
    """Take words for people and the values of defaults out of a JSON schema, at any depth.

    Whether a field has a default says `required`.
    """
    for name in list(schema.fields):
        value = schema.fields[name]
        if name in ("description", "$comment", "examples", "default"):
            del schema.fields[name]
        elif name in _BY_NAME:
            # The keys there are names that users gave.
            for field in list(value.struct_value.fields):
                _strip_schema(value.struct_value.fields[field].struct_value)
        elif value.HasField("struct_value"):
            _strip_schema(value.struct_value)
        elif value.HasField("list_value"):
            for item in value.list_value.values:
                if item.HasField("struct_value"):
                    _strip_schema(item.struct_value)


def literal_text(literal: Literal) -> str:
    """A default in words, shortened, without what is known to be secret."""
    return SECRETS.shortened(_plain(_literal(literal)), _LONGEST)


def same_literal(one: Literal, other: Literal) -> bool:
    """Whether two defaults read the same, shortened or not."""
    return _plain(_literal(one)) == _plain(_literal(other))


def _literal(literal: Literal) -> str:
    if literal.HasField("collection"):
        return f"[{', '.join(map(_literal, literal.collection.literals))}]"
    if literal.HasField("map"):
        items = sorted(literal.map.literals.items())
        return "{" + ", ".join(f"{name!r}: {_literal(value)}" for name, value in items) + "}"
    scalar = literal.scalar
    which = scalar.WhichOneof("value")
    if which == "primitive":
        kind = scalar.primitive.WhichOneof("value")
        value = getattr(scalar.primitive, kind) if kind else None
        if kind == "datetime":
            return str(scalar.primitive.datetime.ToJsonString())
        if kind == "duration":
            return str(scalar.primitive.duration.ToJsonString())
        return repr(value)
    if which == "none_type":
        return "None"
    if which == "union":
        return _literal(scalar.union.value)
    if which == "blob":
        return scalar.blob.uri.rpartition("/")[2] or "a file"
    if which == "structured_dataset":
        return scalar.structured_dataset.uri.rpartition("/")[2] or "a table"
    if which == "generic":
        return MessageToJson(scalar.generic, indent=None)
    return "a value" if which else ""
