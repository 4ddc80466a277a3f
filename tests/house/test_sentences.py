"""Pronouns for subjects are found in made-up files, and there are none in the project's own."""

from __future__ import annotations

from tests.house.conftest import Write
from tests.house.sentences import pronoun_sentences
from tests.support.source_tree import packages, python_files


def test_a_comment_or_docstring_that_begins_with_a_pronoun_is_found(write: Write) -> None:
    path = write(
        "sse_bridge/hub/a.py",
        '"""What it is."""\n\n# who waits\nx = 1  # noqa: E501  # it stays\n\n\ndef f():\n    """They do."""\n',
    )
    assert [sentence.partition(".py:")[2] for sentence in pronoun_sentences(path)] == [
        "3: who waits",
        "4: it stays",
        "1: What it is.",
        "8: They do.",
    ]


def test_a_sentence_may_go_on_with_a_pronoun_in_its_next_line(write: Write) -> None:
    path = write("sse_bridge/hub/a.py", "# The lock is held by the thread\n# that began.\nx = 1  # a sum\n")
    assert pronoun_sentences(path) == []


def test_no_sentence_of_the_project_is_without_a_subject() -> None:
    sentences = [
        sentence for package in packages() for path in python_files(package) for sentence in pronoun_sentences(path)
    ]
    assert not sentences, "\n".join(["expected a subject that has a name in the code, got a pronoun:", *sentences])
