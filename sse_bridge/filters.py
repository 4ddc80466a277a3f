"""Filters: which of a channel's entries a reader gets, in replay and live alike.

    ByVisibility("user_facing", "model_only") & ByType("order.*") & ~Where(lambda event: event.data["amount"] < 10)

A filter is an immutable value: equal filters are equal and hash alike whoever made them, in whatever order their parts
stand, so that readers with equal filters can share the work. It decides by an entry's header; only a predicate that
looks at ``event.data`` decodes the data.

A predicate that raises has no answer. Logic then has three values, and an entry is shown only where the filter as a
whole is certainly true: a broken predicate hides an entry under ``f`` and under ``~f`` alike, so a bug cannot show what
a filter was to hide. The stream goes on, for else one such entry would end it again at every reconnect; the exception is
logged, once per predicate and class of exception.

Control events (``stream.*``) are not put to filters; who calls `Filter.matches` lets them pass.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any, Final

from typing_extensions import override

from .errors import InvalidInput
from .events import NAME_RULE, Entry, Event, Visibility
from .runtime.containment import is_strange
from .runtime.reports import report

__all__ = [
    "PUBLIC",
    "ByType",
    "ByVisibility",
    "Filter",
    "Where",
    "for_browsers",
]


_PATTERN: Final = re.compile(rf"{NAME_RULE}\*?|\*")

_reported: set[tuple[Where, type[BaseException]]] = set()


class Filter(ABC):
    """Decides which entries a reader gets; combine with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def matches(self, channel: str, entry: Entry) -> bool:
        """Whether the reader gets `entry`. Safe from any thread; never raises an `Exception`."""
        return self.decide(channel, entry) is True

    @abstractmethod
    def decide(self, channel: str, entry: Entry) -> bool | None:
        """True, False, or None where a predicate that raised leaves it open."""

    def hidden_visibilities(self) -> frozenset[Visibility] | None:
        """The visibilities whose entries it hides, if it goes by visibility alone; None where more decides.

        So a gap can say how many of the entries it swallowed this reader would have seen.
        """
        return None

    def names_visibility(self, negated: bool = False) -> bool:
        """Whether every entry it (or its negation) shows was chosen by visibility too; see `for_browsers`."""
        return False

    @abstractmethod
    def _key(self) -> Hashable:
        """The key of equality and hash, within a class."""

    def __and__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        return _All.of(self, other)

    def __or__(self, other: Filter) -> Filter:
        if not isinstance(other, Filter):
            return NotImplemented
        return _Any.of(self, other)

    def __invert__(self) -> Filter:
        return _Not(self)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Filter):
            return NotImplemented
        return type(self) is type(other) and self._key() == other._key()

    @override
    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __bool__(self) -> bool:
        # `a and b` would silently drop a
        raise TypeError("a filter has no truth value; combine filters with &, | and ~, and test for one with `is None`")


class ByVisibility(Filter):
    """Entries of these visibilities; of none where none is given.

    Args:
        visibilities: `Visibility` members or their values.

    Raises:
        InvalidInput: an unknown visibility.
    """

    __slots__ = ("_codes",)

    def __init__(self, *visibilities: Visibility | str) -> None:
        try:
            self._codes = frozenset(Visibility(each).code for each in visibilities)
        except ValueError:
            known = ", ".join(each.value for each in Visibility)
            raise InvalidInput(f"visibilities are {known}; got {visibilities!r:.200}") from None

    @override
    def decide(self, channel: str, entry: Entry) -> bool:
        return entry.visibility in self._codes

    @override
    def hidden_visibilities(self) -> frozenset[Visibility]:
        return frozenset(each for each in Visibility if each.code not in self._codes)

    @override
    def names_visibility(self, negated: bool = False) -> bool:
        return True

    @override
    def _key(self) -> Hashable:
        return self._codes

    @override
    def __hash__(self) -> int:
        return hash(self._codes)  # without the key's call, since every stream to a browser has such a filter

    @override
    def __repr__(self) -> str:
        names = (repr(each.value) for each in Visibility if each.code in self._codes)
        return f"ByVisibility({', '.join(names)})"


class ByType(Filter):
    """Entries of these types.

    Args:
        patterns: types, or beginnings of types that end in ``*``: ``"order.*"`` is every type that begins with
            ``order.``, and ``"*"`` every type.

    Raises:
        InvalidInput: no type could match the pattern.
    """

    __slots__ = ("_prefixes", "_types")

    def __init__(self, *patterns: str) -> None:
        for each in patterns:
            if not (isinstance(each, str) and _PATTERN.fullmatch(each)):
                raise InvalidInput(f"expected event types or prefixes like 'order.*', got {each!r:.200}")
        self._types = frozenset(each for each in patterns if not each.endswith("*"))
        self._prefixes = tuple(sorted({each[:-1] for each in patterns if each.endswith("*")}))

    @override
    def decide(self, channel: str, entry: Entry) -> bool:
        return entry.type in self._types or entry.type.startswith(self._prefixes)

    @override
    def _key(self) -> Hashable:
        return self._types, self._prefixes

    @override
    def __repr__(self) -> str:
        patterns = [*sorted(self._types), *(f"{each}*" for each in self._prefixes)]
        return f"ByType({', '.join(map(repr, patterns))})"


class Where(Filter):
    """Entries for which `predicate` is true.

    Two are equal if they hold the same function, or the same method of the same object: a lambda that is written in a
    view is a new one for each request, and its readers share nothing.

    Args:
        predicate: called with an `Event` that has no ``position`` and no ``id``. It runs between the log and the
            reader, on the event loop or a thread of the hub, more than once per entry: it must be fast, must neither
            wait nor publish (it may run under a lock that publishing needs), and should depend on the event alone. If it raises, see the module's docstring.

    Raises:
        InvalidInput: not callable, or a coroutine function.
    """

    __slots__ = ("_identity", "_predicate")

    def __init__(self, predicate: Callable[[Event], Any]) -> None:
        called = getattr(predicate, "__call__", None)  # noqa: B004  # of an object with `async def __call__` too
        if called is None or inspect.iscoroutinefunction(predicate) or inspect.iscoroutinefunction(called):
            raise InvalidInput(
                f"expected a plain function of an event that returns true or false, got {predicate!r:.200}"
            )
        self._predicate = predicate
        # by hand, since a callable object may have an __eq__ of its own and no hash
        self._identity: Hashable = id(predicate)
        if isinstance(predicate, MethodType):  # a new object at each access
            self._identity = id(predicate.__self__), id(predicate.__func__)

    @override
    def decide(self, channel: str, entry: Entry) -> bool | None:
        try:
            answer = self._predicate(Event.of(channel, entry, None, None))
            if answer is True or answer is False:
                return answer
            if inspect.isawaitable(answer):  # true as an object, so it would show everything
                if inspect.iscoroutine(answer):
                    answer.close()  # Python would warn that the coroutine was never awaited
                raise TypeError(f"the predicate must return true or false, got the awaitable {answer!r:.120}")
            return bool(answer)
        except BaseException as error:
            if not isinstance(error, Exception) and not is_strange(error):
                raise
            case = (self, type(error))
            if case not in _reported:
                if len(_reported) >= 1024:  # an old case may be reported again
                    _reported.clear()
                _reported.add(case)
                report(self._predicate, channel, error)
            return None

    @override
    def _key(self) -> Hashable:
        return self._identity

    @override
    def __repr__(self) -> str:
        return f"Where({self._predicate!r})"


class _Not(Filter):
    __slots__ = ("_part",)

    def __init__(self, part: Filter) -> None:
        self._part = part

    @override
    def decide(self, channel: str, entry: Entry) -> bool | None:
        answer = self._part.decide(channel, entry)
        return None if answer is None else not answer

    @override
    def hidden_visibilities(self) -> frozenset[Visibility] | None:
        hidden = self._part.hidden_visibilities()
        return None if hidden is None else frozenset(Visibility) - hidden

    @override
    def names_visibility(self, negated: bool = False) -> bool:
        return self._part.names_visibility(not negated)

    @override
    def _key(self) -> Hashable:
        return self._part

    @override
    def __invert__(self) -> Filter:
        return self._part

    @override
    def __repr__(self) -> str:
        return f"~{self._part!r}"


class _Many(Filter):
    """Parts in the order they were written, which is the order they are asked in; equality does not look at it."""

    __slots__ = ("_parts", "_set")

    _decisive: bool  # the answer of one part that settles the whole
    _sign: str

    def __init__(self, parts: tuple[Filter, ...]) -> None:
        self._parts = parts
        self._set = frozenset(parts)

    @classmethod
    def of(cls, *filters: Filter) -> Filter:
        parts: dict[Filter, None] = {}  # a set that keeps its order
        for each in filters:
            parts.update(dict.fromkeys(each._parts if isinstance(each, cls) else (each,)))
        return cls(tuple(parts)) if len(parts) > 1 else next(iter(parts))

    @override
    def decide(self, channel: str, entry: Entry) -> bool | None:
        decisive = self._decisive
        whole: bool | None = not decisive
        for part in self._parts:
            answer = part.decide(channel, entry)
            if answer is decisive:
                return decisive
            if answer is None:
                whole = None
        return whole

    @override
    def hidden_visibilities(self) -> frozenset[Visibility] | None:
        hidden = [part.hidden_visibilities() for part in self._parts]
        known = [each for each in hidden if each is not None]
        if len(known) < len(hidden):
            return None
        first, *others = known
        return first.intersection(*others) if self._decisive else first.union(*others)

    @override
    def names_visibility(self, negated: bool = False) -> bool:
        # "all of" is limited by one limited part; "any of", and so "not all of", only if each part is limited
        quantifier = any if self._decisive is negated else all
        return quantifier(part.names_visibility(negated) for part in self._parts)

    @override
    def _key(self) -> Hashable:
        return self._set

    @override
    def __repr__(self) -> str:
        return f"({self._sign.join(map(repr, self._parts))})"


class _All(_Many):
    __slots__ = ()

    _decisive = False
    _sign = " & "


class _Any(_Many):
    __slots__ = ()

    _decisive = True
    _sign = " | "


PUBLIC: Final = ByVisibility(Visibility.USER_FACING, Visibility.LIVE_UI_ONLY)


def for_browsers(filter: Filter | None) -> Filter:
    """The filter of a stream to a browser: `filter`, and `PUBLIC` as well unless `filter` names visibilities itself.

    So ``ByType("order.*")`` shows no internal event, and ``ByType("order.*") & ByVisibility("internal_only")`` does: it
    asks. It never shows more than `filter`, and of public entries exactly the same.
    """
    if filter is None:
        return PUBLIC
    if filter.names_visibility():
        return filter
    if isinstance(filter, _Any):
        return _Any.of(*map(for_browsers, filter._parts))
    return PUBLIC & filter
