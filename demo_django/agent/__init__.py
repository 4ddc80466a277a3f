"""A small retrieval agent: it searches the documentation, looks a name up, cites, and writes its answer word by word.

documents  what it can read, cut into passages
search     which passages fit a question (BM25)
tools      the signature or setting behind a name
writer     a question -> the events of a run; offline, from the passages alone
openai     the same words from a language model behind an OpenAI-compatible endpoint
"""

from .writer import run

__all__ = ["run"]
