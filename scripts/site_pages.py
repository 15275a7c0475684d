"""What the site has beside docs/: the repository's own pages, with their links made right. A hook of MkDocs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_REPOSITORY = Path(__file__).parents[1]
_PAGES = {"index.md": "README.md", "ARCHITECTURE.md": "", "SECURITY.md": "", "CHANGELOG.md": ""}
_LINK = re.compile(r"(\]\()([^)\s#:]+)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """README is the first page; architecture, security and changelog lie beside it."""
    for name, source in _PAGES.items():
        text = (_REPOSITORY / (source or name)).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_LINK.sub(_from_root, text)))
    return files


def _from_root(link: re.Match[str]) -> str:
    """A link of a page in the repository's root, seen from docs/."""
    target = link[2].removeprefix("docs/")
    return f"{link[1]}{target}README.md" if target.endswith("/") else f"{link[1]}{target}"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/ that names one of the repository's root."""
    if page.file.src_uri in _PAGES:
        return markdown
    return re.sub(r"(\]\((?:\.\./)*)\.\./(ARCHITECTURE|SECURITY|CHANGELOG)\.md", r"\1\2.md", markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Pages of three columns of commands, which docs/stylesheets/narrow.css shows row by row on a phone."""
    return f'<div class="rows">{html}</div>' if page.file.src_uri.startswith("coming-from-") else html
