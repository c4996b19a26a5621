"""Markdown as GitHub shows it: cmark-gfm, its style, Mermaid, in headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

import cmarkgfm
from cmarkgfm.cmark import Options

ROOT = Path(__file__).parents[2]
_VOID = {"br", "img", "input", "hr"}
_MERMAID = re.compile(r'<pre lang="mermaid"><code>(.*?)</code></pre>', re.DOTALL)


def to_html(markdown: str) -> str:
    """What GitHub makes of it before it takes out tags; HTML in it is let through, to be seen."""
    made: str = cmarkgfm.markdown_to_html_with_extensions(
        markdown,
        options=Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_GITHUB_PRE_LANG | Options.CMARK_OPT_FOOTNOTES,
        extensions=["table", "strikethrough", "autolink", "tasklist"],
    )
    return made


class Page(HTMLParser):
    """What is in a page: tags, links, text within code and outside, tables by their rows' lengths."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[tuple[str, str]] = set()
        self.comments: list[str] = []
        self.outside = ""
        self.codes: list[str] = []
        self.tables: list[list[int]] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(to_html(markdown))
        self.close()
        if self._open:
            self.problems.append(f"left open: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append(0)
        if tag in ("td", "th"):
            self.tables[-1][-1] += 1
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if "code" in self._open or "pre" in self._open:
            self.codes[-1] += data
        else:
            self.outside += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@lru_cache(maxsize=1)
def contracts() -> Path:
    """The folder with Mermaid and GitHub's style; the browser is there too then."""
    done = subprocess.run([ROOT / "tools" / "contracts"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def browser() -> str:
    contracts()
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "tools/contracts brings a browser"
    return found


def page_of(markdown: str) -> str:
    """A page with the Markdown in it, all unfolded and its diagrams drawn."""
    body = to_html(markdown)
    body = body.replace("<details>", "<details open>")
    body = _MERMAID.sub(lambda found: f'<pre class="mermaid">{found[1]}</pre>', body)
    folder = contracts().as_uri()
    return f"""<!doctype html><html><head><meta charset="utf-8">
<link rel="stylesheet" href="{folder}/github-markdown.css">
<style>body {{ background: white; margin: 24px; width: 900px; }} .mermaid svg {{ max-width: 100%; }}</style>
<script src="{folder}/mermaid.min.js"></script></head>
<body class="markdown-body">{body}
<script>
mermaid.initialize({{ startOnLoad: false, securityLevel: "strict", theme: "default" }});
mermaid.run().catch(error => {{ document.body.dataset.failed = String(error); }})
  .finally(() => {{
    const wide = [...document.querySelectorAll("p, li, pre, table, summary, h3")]
      .filter(one => one.scrollWidth > one.clientWidth + 1);
    document.body.dataset.wide = wide.map(one => one.textContent.slice(0, 80)).join(" | ");
    const folded = document.querySelector("details");
    document.body.dataset.head = folded ? folded.offsetTop : document.body.offsetHeight;
    document.body.dataset.done = "yes";
  }});
</script></body></html>"""


def drawn(markdown: str, folder: Path) -> str:
    """The page as the browser has it once its diagrams are drawn."""
    return _chromium(markdown, folder, "--dump-dom")


def picture(markdown: str, folder: Path, target: Path, height: int = 1600) -> None:
    """A picture of the page."""
    _chromium(markdown, folder, f"--screenshot={target}", f"--window-size=980,{height}")


def _chromium(markdown: str, folder: Path, *arguments: str) -> str:
    page = folder / "page.html"
    page.write_text(page_of(markdown), encoding="utf-8", errors="replace")
    done = subprocess.run(
        [
            browser(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--hide-scrollbars",
            "--virtual-time-budget=60000",
            f"--user-data-dir={folder / 'profile'}",
            *arguments,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
