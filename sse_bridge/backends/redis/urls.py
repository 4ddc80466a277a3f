"""From a URL to addresses and connection options; no I/O.

::

    redis://[user:password@]host[:6379][/database]
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…
    rediss://   rediss+sentinel://   rediss+cluster://        the same over TLS

Options stand behind ``?``: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs`` (required, optional,
none), ``client_name``, and for Sentinels with a password of their own ``sentinel_username``, ``sentinel_password``.
User, password and values are percent-decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from ...errors import ConfigurationError

Address = tuple[str, int]
Kind = Literal["redis", "sentinel", "cluster"]

_KINDS: Final[dict[str, Kind]] = {"redis": "redis", "redis+sentinel": "sentinel", "redis+cluster": "cluster"}
_OPTIONS: Final = ("client_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
# RFC 3986, appendix B: scheme, authority, path, query. Newer urlsplit()s refuse [::1] in a list of hosts.
_URL: Final = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?")
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class Target:
    """What a URL says.

    Attributes:
        kind: one server, Sentinels that name the primary, or a cluster.
        addresses: the server; the Sentinels; or some nodes of the cluster.
        tls: whether connections are wrapped.
        database: its number; 0 on a cluster, which has one only.
        service: the name under which the Sentinels know the primary.
        options: keyword arguments of redis-py's connection besides the address and the database.
        sentinel_options: the same for connections to Sentinels.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    tls: bool = False
    database: int = 0
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(url: str) -> Target:
    """Reads a URL; raises `ConfigurationError`, whose message never shows the password."""
    match = _URL.match(url)
    assert match  # every part may be absent
    scheme, authority, path_text, query = (part or "" for part in match.groups())
    scheme = scheme.lower()
    tls = scheme.startswith("rediss")
    kind = _KINDS.get("redis" + scheme[6:] if tls else scheme)
    if kind is None:
        raise ConfigurationError(
            f"expected a URL that starts with redis://, redis+sentinel:// or redis+cluster:// (rediss… for TLS), "
            f"got the scheme {scheme!r}"
        )
    login, _, hosts = authority.rpartition("@")
    addresses = tuple(_address(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
    if kind == "redis" and len(addresses) > 1:
        raise ConfigurationError(f"redis:// takes one host, got {hosts!r}; use redis+sentinel:// or redis+cluster://")
    path = [unquote(part) for part in path_text.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not path:
            raise ConfigurationError("redis+sentinel:// needs the primary's name behind the hosts: …/mymaster")
        service = path.pop(0)
    database = _database(path, kind)
    options, sentinel_options = _options(query, kind, tls)
    user, _, password = login.partition(":")
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    return Target(kind, addresses, tls, database, service, options, sentinel_options)


def _address(text: str, default_port: int) -> Address:
    host, port = text, str(default_port)
    if text.startswith("["):  # an IPv6 address (RFC 3986, 3.2.2)
        host, _, rest = text[1:].partition("]")
        port = rest[1:] or port
    elif ":" in text:
        host, _, port = text.partition(":")
    try:
        number = int(port)
        if not 0 < number < 65536:
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"expected host:port with a port from 1 to 65535, got {text!r}") from None
    return host or "localhost", number


def _database(path: list[str], kind: Kind) -> int:
    if not path:
        return 0
    if len(path) > 1 or not path[0].isascii() or not path[0].isdigit():
        raise ConfigurationError(f"expected a database number at the end of the URL's path, got {'/'.join(path)!r}")
    database = int(path[0])
    if kind == "cluster" and database:
        raise ConfigurationError(f"a cluster has database 0 only, got {database}")
    return database


def _options(query: str, kind: Kind, tls: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {}
    sentinel_options: dict[str, Any] = {}
    known = _OPTIONS + (_SENTINEL_OPTIONS if kind == "sentinel" else ())
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigurationError(f"unknown option {name!r} in the Redis URL; known: {', '.join(known)}")
        if name.startswith("ssl_") and not tls:
            raise ConfigurationError(f"option {name!r} needs TLS: write rediss:// instead of redis://")
        if name in _SENTINEL_OPTIONS:
            sentinel_options[name.removeprefix("sentinel_")] = value
        else:
            options[name] = value
    if tls:
        if options.setdefault("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
            raise ConfigurationError(
                f"ssl_cert_reqs must be required, optional or none, got {options['ssl_cert_reqs']!r}"
            )
        # redis-py before 6 does not compare the host name unless told to
        options["ssl_check_hostname"] = options["ssl_cert_reqs"] != "none"
        sentinel_options.update({name: value for name, value in options.items() if name.startswith("ssl_")})
    return options, sentinel_options
