"""``{% load sse_bridge %}``: the position from which a page follows its channels.

{% sse_position "orders:42" as position %}
<ol data-events="/orders/42/events/?after={{ position }}">{% for line in order.lines.all %}…{% endfor %}</ol>
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template

from sse_bridge import get_bridge

register = template.Library()


@register.simple_tag
def sse_position(*channels: str | Iterable[str]) -> str:
    """The id to resume from, of one or several channels; see `Bridge.position`.

    The id stands for the moment of rendering, so place the tag above the state that the page shows, and read that state
    below it (as a lazy QuerySet is). For a state that the view reads, call ``get_bridge().position(…)`` in the view before.

    Args:
        channels: names, or variables that hold a name or a list of names.

    Raises:
        InvalidInput, BackendUnavailable: as `Bridge.position`.
        AsyncContextError: rendered on an event loop; await ``aposition()`` in the async view and pass it.
    """
    names: list[Any] = []
    for each in channels:
        names.extend([each] if isinstance(each, str) or not isinstance(each, Iterable) else each)
    return get_bridge().position(names)
