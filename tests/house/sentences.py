"""Comments and docstrings whose first word is a bare pronoun: a sentence needs a subject that has a name in the code."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

PRONOUN = re.compile(
    r"(it|they|who|whoever|whom|whose|what|whatever|whichever|that|nobody|somebody|anybody|everybody)\b", re.IGNORECASE
)
_DIRECTIVE = re.compile(r"^#\s*(noqa|type|fmt)\b.*?(#|$)")  # the comment's text stands behind it


def pronoun_sentences(path: Path) -> list[str]:
    """The first lines of such comments and docstrings, each with its file and line."""
    return [f"{path}:{line}: {text}" for line, text in [*_comments(path), *_docstrings(path)] if PRONOUN.match(text)]


def _comments(path: Path) -> Iterator[tuple[int, str]]:
    """Comments by their line; a line that goes on with the sentence of the line before is not among them."""
    unfinished = 0  # the line below a comment that has a line to itself and ends within a sentence
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                line = token.start[0]
                text = _DIRECTIVE.sub("", token.string).lstrip("# ")
                alone = token.line.lstrip().startswith("#")
                if not (alone and line == unfinished):
                    yield line, text
                unfinished = line + 1 if alone and not text.endswith((".", ":")) else 0


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text.split("\n")[0]
