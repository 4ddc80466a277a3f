"""Tells settings among the environment variables from those of Kubernetes and docker under the same prefix.

Kubernetes describes every Service of a namespace to its containers, and docker (and podman) a linked container, by variables
that begin with the Service's name or the link's alias in capitals: for one called sse-bridge, or sse-bridge-web, that is
the settings' prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

ENV_PREFIX: Final = "SSE_BRIDGE_"

# names under the prefix that are not settings: the test suite's switch that forbids skips
_NOT_SETTINGS: Final = frozenset({"SSE_BRIDGE_REQUIRE_ALL"})

# Patterns of these variables' names and values; both must match, so that a misspelt setting is still an error.
_PORT: Final = r"PORT_[0-9]{1,5}_(?:TCP|UDP|SCTP)"
_SERVICE: Final = (
    (re.compile(r"SSE_BRIDGE_(?:\w+_)?SERVICE_HOST"), re.compile(r"[0-9A-Fa-f.:]+")),
    (re.compile(r"SSE_BRIDGE_(?:\w+_)?SERVICE_PORT(?:_\w+)?"), re.compile(r"[0-9]+")),
    (re.compile(rf"SSE_BRIDGE_(?:\w+_)?(?:PORT|{_PORT}(?:_START|_END)?)"), re.compile(r"(?:tcp|udp|sctp)://\S+")),
    (re.compile(rf"SSE_BRIDGE_(?:\w+_)?{_PORT}_PROTO"), re.compile(r"tcp|udp|sctp")),
    (re.compile(rf"SSE_BRIDGE_(?:\w+_)?{_PORT}_(?:PORT(?:_START|_END)?|ADDR)"), re.compile(r"[0-9A-Fa-f.:]+")),
    (re.compile(r"SSE_BRIDGE_(?:\w+_)?NAME"), re.compile(r"/\S+")),
)
_LINKED: Final = re.compile(r"(SSE_BRIDGE_(?:\w+_)?)ENV_\w+")  # environment of a linked container


def names_under_prefix(environ: Mapping[str, str]) -> Iterator[str]:
    """The names that must be settings: all under the prefix except those of a Service or a link."""
    for name, value in environ.items():
        if name.startswith(ENV_PREFIX) and name not in _NOT_SETTINGS and not _of_others(name, value, environ):
            yield name


def _of_others(name: str, value: str, environ: Mapping[str, str]) -> bool:
    if any(names.fullmatch(name) and values.fullmatch(value) for names, values in _SERVICE):
        return True
    linked = _LINKED.fullmatch(name)
    return linked is not None and environ.get(f"{linked[1]}NAME", "").startswith("/")
