"""Parses a Redis URL into addresses and connection options; no I/O.

::

    redis://[user:password@]host[:6379][/database]
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…
    rediss://   rediss+sentinel://   rediss+cluster://        the same over TLS
    unix://[user:password@]/path/of/socket[?db=database]      as redis+socket:// (Celery's name)
    valkey…://  valkeys…://                                   the same as redis…:// and rediss…://

Options stand behind ``?``, as redis-py names them: ``db``, ``username``, ``password``, ``client_name``,
``socket_keepalive``, ``ssl_ca_certs``, ``ssl_ca_path``, ``ssl_ca_data``, ``ssl_certfile``, ``ssl_keyfile``,
``ssl_password``, ``ssl_check_hostname``, ``ssl_cert_reqs`` (required, optional, none), and for Sentinels with a password of
their own ``sentinel_username``, ``sentinel_password``. redis-py's options for timeouts, retries, pools and decoding are
accepted and ignored, so that one URL serves several programs: deadlines are settings here. User, password, path and values
are percent-decoded; white space around the URL is cut off.
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
_OPTIONS: Final = (
    "db", "virtual_host", "username", "password", "client_name", "socket_keepalive", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data",
    "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_check_hostname", "ssl_cert_reqs",
)  # fmt: skip
# redis-py's options without effect here: the bridge's deadlines bound every wait, only `Call` repeats an append safely, and
# the drivers pool connections and decode replies themselves.
_IGNORED: Final = frozenset({
    "timeout", "socket_timeout", "socket_connect_timeout", "socket_read_size", "retry_on_timeout", "retry_on_error",
    "max_connections", "health_check_interval", "protocol", "legacy_responses", "decode_responses", "encoding",
    "encoding_errors", "lib_name", "lib_version", "single_connection_client",
})  # fmt: skip
_BOOLS: Final = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
# Celery and kombu write the names of Python's ssl module.
_CERT_REQS: Final = {"cert_required": "required", "cert_optional": "optional", "cert_none": "none"}
# RFC 3986, appendix B: scheme, authority, path, query. Newer urlsplit()s refuse [::1] in a list of hosts.
_URL: Final = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?")
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class Target:
    kind: Kind
    addresses: tuple[Address, ...]  # the server (port 0: a Unix socket), the Sentinels, or nodes of the cluster
    tls: bool = False
    database: int = 0
    service: str = ""  # the primary's name among the Sentinels
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # for redis-py's connections, but the address
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ignored: tuple[str, ...] = ()  # accepted options without effect


def parse(url: str) -> Target:
    """Parses a URL; raises `ConfigurationError`, whose message never shows the password."""
    match = _URL.match(url.strip())
    assert match  # every part may be absent
    scheme, authority, path_text, query = (part or "" for part in match.groups())
    kind, tls = _kind(scheme.lower())
    _check_login(kind, authority, url.strip()[match.end(2) :] if match[2] is not None else "")
    pairs = parse_qsl(query, keep_blank_values=True)
    options, sentinel_options = _options(pairs, kind, tls)
    login, _, hosts = authority.rpartition("@")
    service = ""
    if kind == "unix":
        if hosts or len(path_text) < 2 or "%00" in path_text:
            raise ConfigurationError(
                f"unix:// takes the path of a socket, unix:///run/redis.sock, got {hosts + path_text!r}"
            )
        addresses: tuple[Address, ...] = ((unquote(path_text), 0),)
        path = []
    else:
        addresses = tuple(_address(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
        path = [unquote(part) for part in path_text.split("/") if part]
    if kind == "redis" and len(addresses) > 1:
        raise ConfigurationError(f"redis:// takes one host, got {hosts!r}; use redis+sentinel:// or redis+cluster://")
    if kind == "sentinel":
        if not path:
            raise ConfigurationError("redis+sentinel:// needs the primary's name behind the hosts: …/mymaster")
        service = path.pop(0)
    database = _database(path, [options.pop(name) for name in ("db", "virtual_host") if name in options], kind)
    user, _, password = login.partition(":")
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    ignored = tuple(dict.fromkeys(name for name, _ in pairs if name in _IGNORED))
    one = "redis" if kind == "unix" else kind
    return Target(one, addresses, tls, database, service, options, sentinel_options, ignored)


def _kind(scheme: str) -> tuple[Literal["redis", "sentinel", "cluster", "unix"], bool]:
    """The kind of server that a scheme names, and whether connections use TLS."""
    if scheme in ("unix", "redis+socket", "valkey+socket"):
        return "unix", False
    server, _, _ = scheme.partition("+")
    tls = server in ("rediss", "valkeys")
    kind = _KINDS.get("redis" + scheme[len(server) :]) if server in ("redis", "rediss", "valkey", "valkeys") else None
    if kind is None:
        raise ConfigurationError(
            f"expected a URL that starts with redis://, redis+sentinel://, redis+cluster:// (rediss… for TLS; valkey… is the "
            f"same) or unix://, got the scheme {scheme!r:.80}"
        )
    return kind, tls


def _check_login(kind: str, authority: str, rest: str) -> None:
    """Refuses an unescaped delimiter in the password, of which later error messages would show parts."""
    if kind == "unix" or "@" in authority or "@" not in rest:
        return
    path, _, query = rest.partition("?")
    names = [option.partition("=")[0] for option in query.split("&")]
    _, colon, port = authority.rpartition(":")
    if "@" in path or "#" in rest or any("@" in name for name in names) or (colon and not port.isdigit()):
        raise ConfigurationError(
            "a user or password with /, ? or # in it must be percent-encoded in a URL: %2F, %3F, %23"
        )


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
    try:
        host.encode("idna")  # the look-up encodes alike, and its failure would be no OSError
        if min(host, default="a") <= " ":
            raise UnicodeError
    except UnicodeError:
        raise ConfigurationError(f"expected a host's name, got {host!r:.100}") from None
    return host or "localhost", number


def _database(path: list[str], named: list[str], kind: str) -> int:
    """The number at the path's end, in ``?db=`` or in Celery's ``?virtual_host=``, which must agree."""
    said = sorted({"/".join(path), *named} if path else set(named))
    if not said:
        return 0
    if len(said) > 1:
        raise ConfigurationError(
            f"the URL names two databases, {said[0]!r} and {said[1]!r}: its path, ?db= and ?virtual_host= must agree"
        )
    text = said[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ConfigurationError(
            f"expected a database number at the end of the URL's path or in ?db=, got {text!r:.80}"
        )
    database = int(text)
    if kind == "cluster" and database:
        raise ConfigurationError(f"a cluster has database 0 only, got {database}")
    return database


def _options(pairs: list[tuple[str, str]], kind: str, tls: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments of redis-py's connection, with ``db``, and of connections to Sentinels."""
    options: dict[str, Any] = {}
    sentinel_options: dict[str, Any] = {}
    known = _OPTIONS + (_SENTINEL_OPTIONS if kind == "sentinel" else ())
    for name, value in pairs:
        if name in _IGNORED:
            continue
        if name not in known:
            raise ConfigurationError(f"unknown option {name!r:.80} in the Redis URL; known: {', '.join(known)}")
        if name.startswith("ssl_") and not tls:
            raise ConfigurationError(f"option {name!r} needs TLS: write rediss:// instead of redis://")
        if name in _SENTINEL_OPTIONS:
            sentinel_options[name.removeprefix("sentinel_")] = value
        else:
            options[name] = _bool(name, value) if name in ("socket_keepalive", "ssl_check_hostname") else value
    if kind == "unix":
        options.pop("socket_keepalive", None)  # redis-py's class for Unix sockets takes no such argument
    if tls:
        asked = options.get("ssl_cert_reqs", "required").lower()
        required = options["ssl_cert_reqs"] = _CERT_REQS.get(asked, asked)
        if required not in ("required", "optional", "none"):
            raise ConfigurationError(f"ssl_cert_reqs must be required, optional or none, got {required!r:.80}")
        # redis-py before 6 checks the host name only on request
        options.setdefault("ssl_check_hostname", required != "none")
        if options["ssl_check_hostname"] and required == "none":
            raise ConfigurationError("ssl_check_hostname=true needs a certificate: leave ssl_cert_reqs=none out")
        sentinel_options.update({name: value for name, value in options.items() if name.startswith("ssl_")})
    return options, sentinel_options


def _bool(name: str, value: str) -> bool:
    if (known := _BOOLS.get(value.lower())) is None:
        raise ConfigurationError(f"option {name!r} in the Redis URL must be true or false, got {value!r:.80}")
    return known
