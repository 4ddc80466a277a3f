"""The pages that may read a stream from another origin: the answers of the CORS protocol (Fetch standard, 3.2).

- Only origins of an explicit list are answered, with the list's own text; no request header is reflected, and there is
  no ``*``: streams are read with cookies or tokens.
- ``Vary: Origin`` stands on every answer of a route with a list, also where the origin is not in it, so that no cache
  gives one page's permission to another.
- EventSource sends Last-Event-ID without asking first; ``fetch`` asks by OPTIONS, as it does for Authorization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, TypeVar

from ...config import Settings, checked_origins
from ...errors import ConfigurationError
from .refusals import Refusal, forbidden
from .response import StreamResponse

Answer = TypeVar("Answer", StreamResponse, Refusal)

_ALLOWED_HEADERS: Final = "Accept, Authorization, Cache-Control, Content-Type, Last-Event-ID"
_MAX_AGE_SECONDS: Final = 600  # Chromium caps it at 7,200; a removed origin should lose access soon


@dataclasses.dataclass(frozen=True)
class Cors:
    """The list of one route; an empty list leaves every answer unchanged.

    Attributes:
        origins: in the form that browsers send.
    """

    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings, origins: str | Iterable[str] | None = None) -> Cors:
        """The route's own list, else the setting ``cors_origins``; an empty list of its own turns CORS off.

        Raises:
            ConfigurationError: ``*``, ``null``, or a text that is not an origin.
        """
        return _listed(settings.cors_origins) if origins is None else cls.listed(origins)

    @classmethod
    def listed(cls, origins: str | Iterable[str]) -> Cors:
        """A list from a caller's argument; raises `ConfigurationError`."""
        try:
            if isinstance(origins, (str, tuple, frozenset)):
                return _listed(origins)
            return cls(frozenset(checked_origins(origins)))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"cors_origins must be a list of origins: {error}") from None

    def apply(self, answer: Answer, origin: str | None) -> Answer:
        """`answer` with the CORS headers; its own ``Vary`` is kept.

        Args:
            origin: the Origin header; None where it is missing.
        """
        if not self.origins:
            return answer
        vary = ", ".join(dict.fromkeys([value for name, value in answer.headers if name == "Vary"] + ["Origin"]))
        kept: tuple[tuple[str, str], ...] = tuple([field for field in answer.headers if field[0] != "Vary"])
        return dataclasses.replace(answer, headers=(*kept, ("Vary", vary), *self._allowed(origin)))

    def preflight(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """The answer to a browser's preflight request; None for any other request.

        Args:
            method: the request's.
            headers: found by names in lower case.
        """
        if not self.origins or method != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        origin = headers.get("origin")
        if not self._allowed(origin):
            return self.apply(forbidden("pages of this origin may not read streams here"), origin)
        permissions = (
            ("Access-Control-Allow-Methods", "GET, HEAD, POST"),  # POST for sources
            ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
            ("Access-Control-Max-Age", str(_MAX_AGE_SECONDS)),
            ("X-Content-Type-Options", "nosniff"),
        )
        return self.apply(Refusal(204, permissions, b""), origin)

    def _allowed(self, origin: str | None) -> tuple[tuple[str, str], ...]:
        if origin is None:
            return ()
        for listed in self.origins:
            if listed == origin:
                return (
                    ("Access-Control-Allow-Origin", listed),
                    ("Access-Control-Allow-Credentials", "true"),
                    ("Access-Control-Expose-Headers", "Retry-After"),
                )
        return ()


@lru_cache(maxsize=256)  # an application has few lists
def _listed(origins: str | tuple[str, ...] | frozenset[str]) -> Cors:
    return Cors(frozenset(checked_origins(origins)))
