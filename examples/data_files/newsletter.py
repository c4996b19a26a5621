"""Letters from templates, a whole folder of them: the place to start."""

from pathlib import Path
from string import Template

import flyte

from prices import price, prices_env
from rankings import best_sellers, rankings_env

newsletter_env = flyte.TaskEnvironment(
    name="newsletter",
    image="ghcr.io/flyteorg/flyte:py3.13-v2.12.1",
    depends_on=[prices_env, rankings_env],
    include=("letters",),
    description="Writes letters.",
)

LETTERS = Path(__file__).parent / "letters"


def template(name: str) -> Template:
    """Return a template of the folder ``letters``."""
    return Template((LETTERS / f"{name}.txt").read_text(encoding="utf-8"))


@newsletter_env.task
async def signature() -> str:
    """Return how letters end."""
    return template("parts/signature").substitute().strip()


@newsletter_env.task
async def welcome(name: str) -> str:
    """Return the letter to a new customer."""
    favourites = ", ".join(await best_sellers())
    return template("welcome").substitute(name=name, favourites=favourites, signature=await signature())


@newsletter_env.task
async def reminder(name: str, article: str) -> str:
    """Return the letter to somebody who left an article in the basket."""
    cost = f"{await price(article):.2f}"
    return template("reminder").substitute(
        name=name, article=article, price=cost, signature=await signature()
    )


@newsletter_env.task
async def letters(names: list[str], article: str | None = None) -> list[str]:
    """Return a letter for each name: a reminder of the article, or a welcome where there is none."""
    return [await reminder(name, article) if article else await welcome(name) for name in names]
