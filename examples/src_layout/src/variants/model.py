"""The nouns of the package."""

from dataclasses import dataclass, field


@dataclass
class Read:
    """A piece of a genome; `quality` is one Phred score a base."""

    name: str
    bases: str
    quality: list[int] = field(default_factory=list)


@dataclass
class Alignment:
    """Where a read fits the reference best, and how many bases differ there."""

    read: Read
    position: int
    mismatches: int


@dataclass
class Variant:
    """A place where a genome differs from the reference."""

    position: int
    reference: str
    alternative: str
    depth: int
    gene: str = ""
