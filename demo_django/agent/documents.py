"""What the agent can read: the Markdown files of the checkout and what each module says of itself, cut into passages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
MAX_WORDS = 110  # of one passage: enough for a thought, short enough to be about one thing
MIN_WORDS = 12  # a heading alone, or half a sentence, answers nothing


@dataclass(frozen=True)
class Passage:
    """A piece of the documentation.

    Attributes:
        title: the heading, or the name of the class or function.
        source: the file, relative to the checkout.
        line: where it begins in the file, counted from 1.
        text: prose, one paragraph per line.
        code: the first code block that belongs to it; empty if none does.
    """

    title: str
    source: str
    line: int
    text: str
    code: str = ""


@cache
def passages() -> tuple[Passage, ...]:
    """Everything there is to read; cached, since the files do not change while the demo runs."""
    found: list[Passage] = []
    for path in [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]:
        if path.name not in ("CHANGELOG.md", "CONTRIBUTING.md"):
            found.extend(of_markdown(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()))
    for root in ("sse_bridge", "integrations"):
        for path in sorted(ROOT.glob(f"{root}/**/*.py")):
            found.extend(of_python(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()))
    return tuple(found)


def of_markdown(text: str, source: str) -> Iterator[Passage]:
    """The paragraphs under each heading, gathered up to `MAX_WORDS`."""
    title, begun, prose, code = source, 1, [""], ""
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if fence:
            if stripped.startswith(fence):
                fence = ""
            else:
                code += line + "\n"
            continue
        if stripped.startswith(("```", "~~~")):
            if code:  # one example per passage
                yield from _passage(title, source, begun, prose, code)
                begun, prose, code = number, [""], ""
            fence = stripped[:3]
        elif heading := re.match(r"#{1,6}\s+(.*)", line):
            yield from _passage(title, source, begun, prose, code)
            title, begun, prose, code = _plain(heading[1]), number, [""], ""
        elif stripped.startswith("|"):
            continue  # a table's cells make no sentences
        elif not stripped or re.match(r"[-*]|\d+\.", stripped):
            if len(" ".join(prose).split()) > MAX_WORDS or (code and stripped):
                yield from _passage(title, source, begun, prose, code)
                begun, prose, code = number, [], ""
            prose.append(_plain(stripped))
        else:
            prose[-1] = f"{prose[-1]} {_plain(stripped)}".strip()
    yield from _passage(title, source, begun, prose, code)


def of_python(text: str, source: str) -> Iterator[Passage]:
    """The docstring of a module, which says what it is for and the rules it keeps."""
    module = source.removeprefix("integrations/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    prose: list[str] = []
    drawings: list[str] = []
    docstring = (ast.get_docstring(ast.parse(text), clean=False) or "").replace("``", "`")  # code keeps its indent
    for paragraph in re.split(r"\n\n|\n(?=- )", docstring):
        is_drawing = re.search(r"^ {4}|\S {3,}\S", paragraph, re.MULTILINE)
        (drawings if is_drawing else prose).append(paragraph if is_drawing else _plain(" ".join(paragraph.split())))
    yield from _passage(module, source, 1, prose, dedent("\n\n".join(drawings)))


def _passage(title: str, source: str, line: int, prose: list[str], code: str) -> Iterator[Passage]:
    text = "\n".join(paragraph for paragraph in prose if paragraph)
    if len(text.split()) >= MIN_WORDS:
        yield Passage(title, source, line, text, code.strip("\n"))


def _plain(line: str) -> str:
    """Markdown's inline marks as plain text; code keeps its backticks, which the page understands."""
    line = re.sub(r"<!--.*?-->", "", line)
    line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
    line = re.sub(r"(?<![\w*`])\*(\w[^*`]*)\*", r"\1", line)
    return re.sub(r"\*\*|__|^[-*]\s+|^\d+\.\s+|^>\s*", "", line).strip()
