"""Count characters with a package, and lines with a program: each needs an image of its own."""

import subprocess
from pathlib import Path

import flyte

words = flyte.TaskEnvironment(
    name="image_words",
    image=flyte.Image.from_debian_base(name="words").with_pip_packages("idna==3.10"),
    description="Needs a package that Flyte's own image does not pin.",
)

lines = flyte.TaskEnvironment(
    name="image_lines",
    image=(
        flyte.Image.from_debian_base(name="lines")
        .with_source_file(Path(__file__).parent / "stopwords.txt", "/opt/stopwords.txt")
        .with_commands(["sort -u /opt/stopwords.txt > /opt/sorted.txt"])
        .with_env_vars({"STOPWORDS": "/opt/sorted.txt"})
    ),
    description="Needs a file that was prepared when the image was built.",
    depends_on=[words],
)


@words.task
async def encoded(name: str = "straße") -> str:
    """A name as DNS writes it."""
    import idna

    return idna.encode(name).decode()


@lines.task
async def stopwords() -> int:
    """How many words the prepared file holds."""
    listed = subprocess.run(["wc", "-l", "/opt/sorted.txt"], capture_output=True, text=True, check=True)
    return int(listed.stdout.split()[0])
