"""The agent's tool: what stands behind a name of the library, such as `publish` or `heartbeat_seconds`."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from sse_bridge import Bridge, Settings


@dataclass(frozen=True)
class Found:
    """What the tool found.

    Attributes:
        name: as the reader would write it.
        signature: of the method, or the setting and its default.
        summary: the first sentence of its documentation.
    """

    name: str
    signature: str
    summary: str


def look_up(question: str) -> Found | None:
    """The first word of the question that names a setting or a method of `Bridge`; None if none does."""
    for name in re.findall(r"[A-Za-z][A-Za-z0-9_]+", question):
        if name in Settings.model_fields and "_" in name:
            field = Settings.model_fields[name]
            return Found(name, f"{name} = {field.default!r}", field.description or "")
        method = getattr(Bridge, name, None)
        if not name.startswith("_") and inspect.isfunction(method):
            word = "await bridge" if inspect.iscoroutinefunction(method) else "bridge"
            parameters = [each for each in inspect.signature(method).parameters.values() if each.name != "self"]
            arguments = ", ".join(_argument(each) for each in parameters)
            summary = (inspect.getdoc(method) or "").split("\n\n")[0]
            return Found(name, f"{word}.{name}({arguments})", " ".join(summary.split()))
    return None


def _argument(parameter: inspect.Parameter) -> str:
    """Without annotations: a signature in a chat should fit on a line."""
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={getattr(parameter.default, 'value', parameter.default)!r}"
