"""Encodes published data: JSON by pydantic, which additionally accepts lazy texts and rejects models of frameworks.

A lazy translation is encoded as its text in the publisher's current language. Models and queries are refused by name: only
the application can decide which of their fields a browser may see, and a query would run in the middle of a publish. No
framework is imported for these checks, since its objects exist only where the program has loaded it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, Final

import pydantic_core

from .errors import EventTooLarge, InvalidData
from .events import Json, Text

# pydantic writes the keys None, NaN and the infinities so; `json` writes null, NaN, Infinity, -Infinity.
_NONE_KEY: Final = b'"None":'

_LAZY_TEXTS: Final = (
    ("django.utils.functional", "Promise"),  # gettext_lazy, labels of TextChoices
    ("flask_babel.speaklater", "LazyString"),
    ("wtforms.i18n", "LazyString"),
    ("speaklater", "_LazyString"),
)

_FIELDS: Final = (
    "publish the fields that a reader may see, such as {'id': order.pk, 'status': order.status}, or "
    "django.forms.models.model_to_dict(order, fields=[…])"
)
# Module, class, description, and the advice what to publish instead.
_REFUSED: Final = (
    ("django.db.models", "Model", "a Django model", _FIELDS),
    ("django.db.models", "QuerySet", "a Django QuerySet", "publish list(queryset.values('id', 'status'))"),
    ("django.db.models.query", "RawQuerySet", "a raw query of Django", "publish a list of dicts of the columns"),
    (
        "django.db.models.manager",
        "BaseManager",
        "a manager of a Django model",
        "publish list(Order.objects.values('id'))",
    ),
    ("django.db.models.fields.files", "FieldFile", "a file of a Django model", "publish its .name or its .url"),
    ("rest_framework.serializers", "BaseSerializer", "a serializer of REST framework", "publish serializer.data"),
)


class _RefusedData(Exception):
    """Raised by `_stand_in`; pydantic passes on only its name and text."""


def encode_data(data: Any, max_event_bytes: int) -> tuple[str, bytes]:
    """The kind (``J`` or ``T``) and the encoded bytes of published data.

    Raises:
        InvalidData: the data has no JSON form, or holds a lone surrogate.
        EventTooLarge: the encoded data is longer than `max_event_bytes`.
    """
    kind = "J"
    if isinstance(data, Json):
        encoded = data.data
        if type(encoded) is not bytes:
            if not isinstance(encoded, (bytes, bytearray, memoryview)):
                raise InvalidData(f"Json() takes encoded bytes, got {type(encoded).__name__}; publish the value itself")
            encoded = bytes(encoded)
        if encoded.find(b"\n") >= 0 or encoded.find(b"\r") >= 0:
            # JSON allows line breaks between tokens; without them the data fits a frame's line unchecked
            encoded = encoded.replace(b"\r", b" ").replace(b"\n", b" ")
    elif isinstance(data, Text):
        kind, encoded = "T", _text(data.text)
    else:
        try:
            encoded = pydantic_core.to_json(data, inf_nan_mode="null", fallback=_stand_in)
        except (pydantic_core.PydanticSerializationError, UnicodeEncodeError, ValueError, RecursionError) as error:
            _, _, refused = str(error).partition(f"{_RefusedData.__name__}: ")
            raise InvalidData(
                f"data must have a JSON form (str, int, dict, pydantic model, dataclass, datetime …), "
                f"got {refused or f'{type(data).__name__}: {error}'}"
            ) from None
        if encoded.find(_NONE_KEY) >= 0:  # `in` first tries its operand as a number, which costs a microsecond
            renamed = _renamed(data)
            if renamed is not data:
                return encode_data(renamed, max_event_bytes)
    if len(encoded) > max_event_bytes:
        raise EventTooLarge(
            f"an event holds at most max_event_bytes={max_event_bytes} bytes of encoded data, got {len(encoded)}; "
            "publish a reference to it, or raise the setting"
        )
    return kind, encoded


def lazy_text(value: Any) -> str | None:
    """The text of a lazy translation in the current language; None for other values."""
    return str(value) if any(_is_a(value, module, name) for module, name in _LAZY_TEXTS) else None


def _text(value: Any) -> bytes:
    text = value if isinstance(value, str) else lazy_text(value)
    if text is None:
        raise InvalidData(f"Text() takes a str, got {type(value).__name__}; publish the value itself to send JSON")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidData(f"text must be valid Unicode, got {text!r:.120}: {error}") from None


def _renamed(data: Any) -> Any:
    """`data`, which was encoded once, with its keys named as by `json`; the same object if no key changes."""
    keys = _JsonKeys()
    renamed = keys.rename(data)
    if renamed is not data and keys.met_iterator:
        raise InvalidData(
            "data with the keys None, NaN or infinity must hold no iterator, which is read once: make it a list"
        )
    return renamed


def _stand_in(value: Any) -> Any:
    """The replacement of a value or key unknown to pydantic; raises `_RefusedData`."""
    text = lazy_text(value)
    if text is not None:
        return text
    for module, name, what, instead in _REFUSED:
        if _is_a(value, module, name):
            # __class__, since a lazy object such as request.user reports there the class of its target
            of = getattr(value, "model", None) or value.__class__
            raise _RefusedData(f"{what} ({of.__module__}.{of.__qualname__}), which has none: {instead}")
    if issubclass(value.__class__, str):  # a lazy object around a text, such as a CSRF token
        return str(value)
    raise _RefusedData(f"{type(value).__module__}.{type(value).__qualname__}, which has none")


def _is_a(value: Any, module: str, name: str) -> bool:
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(value, cls)


class _JsonKeys:
    """Renames keys to those of `json` where pydantic's differ; keys inside pydantic models and dataclasses stay."""

    met_iterator = False  # whether the data holds an iterator, which the first encoding has exhausted

    def rename(self, value: Any) -> Any:
        """`value` with renamed keys; the same object if no key changes."""
        if isinstance(value, dict):
            pairs = [(key, _json_key(key), item, self.rename(item)) for key, item in value.items()]
            if all([new_key is key and new is item for key, new_key, item, new in pairs]):
                return value
            return {new_key: new for _, new_key, _, new in pairs}
        if isinstance(value, (list, tuple)):
            listed = [self.rename(item) for item in value]
            return value if all([new is item for new, item in zip(listed, value, strict=True)]) else listed
        self.met_iterator = self.met_iterator or isinstance(value, Iterator)
        return value


def _json_key(key: Any) -> Any:
    if key is None:
        return "null"
    if isinstance(key, float) and not math.isfinite(key):
        return "NaN" if math.isnan(key) else "Infinity" if key > 0 else "-Infinity"
    return key
