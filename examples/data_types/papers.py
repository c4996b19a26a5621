"""Papers that go with parcels: files and folders."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Optional

import flyte
from flyte.io import Dir, File

from parcel_types import Parcel

papers_env = flyte.TaskEnvironment(
    name="parcel_papers",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    description="Writes and reads papers.",
)


@papers_env.task
async def label(parcel: Parcel) -> File:
    """Return the text that is stuck on a parcel, as a file."""
    path = Path(mkdtemp()) / f"{parcel.number}.txt"
    path.write_text(f"{parcel.number}\n{parcel.weight} kg\n", encoding="utf-8")
    return await File.from_local(str(path))


@papers_env.task
async def number_on(paper: File) -> str:
    """Return the parcel's number, the first line of a label."""
    async with paper.open("rb") as file:
        content = bytes(await file.read())
    return content.decode("utf-8").splitlines()[0]


@papers_env.task
async def folder_of(papers: list[File]) -> Dir:
    """Return a folder with all the papers."""
    folder = Path(mkdtemp())
    for index, paper in enumerate(papers):
        await paper.download(folder / f"{index}.txt")
    return await Dir.from_local(str(folder))


@papers_env.task
async def count_papers(folder: Dir, other: Optional[Dir] = None) -> int:
    """Return how many papers there are in one or two folders."""
    return len(await folder.list_files()) + (len(await other.list_files()) if other else 0)
