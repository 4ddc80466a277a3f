"""The words from a language model instead: any endpoint that speaks OpenAI's chat completions with ``stream: true``.

    DEMO_OPENAI_URL=http://localhost:11434/v1 DEMO_OPENAI_MODEL=llama3.2 make demo         (and DEMO_OPENAI_KEY)

The names are the demo's own, so that a key in the environment alone never makes it talk to the network.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Sequence

from .documents import Passage

TIMEOUT_SECONDS = 60  # until the first words: a local model may have to be loaded


def configured() -> bool:
    """Whether an endpoint is given."""
    return bool(os.environ.get("DEMO_OPENAI_URL"))


def answer(question: str, sources: Sequence[Passage]) -> Iterator[str]:
    """The model's words as they come, told to use the sources only.

    Raises:
        OSError: the endpoint cannot be reached or refuses.
    """
    base = os.environ["DEMO_OPENAI_URL"].rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise ValueError(f"DEMO_OPENAI_URL must be like http://localhost:11434/v1, got {base!r}")
    context = "\n\n".join(f"[{n}] {each.title}\n{each.text}\n{each.code}" for n, each in enumerate(sources, 1))
    system = "Answer briefly, only from these passages, and cite them as [1], [2]. If they do not answer it, say so."
    messages = [{"role": "system", "content": f"{system}\n\n{context}"}, {"role": "user", "content": question}]
    body = {"model": os.environ.get("DEMO_OPENAI_MODEL", "gpt-4o-mini"), "stream": True, "messages": messages}
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        f"{base}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('DEMO_OPENAI_KEY', 'none')}"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        for line in response:
            data = line.removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                continue
            for choice in json.loads(data).get("choices", []):
                if text := choice.get("delta", {}).get("content"):
                    yield text
