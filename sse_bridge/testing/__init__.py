"""For the tests of applications that publish and stream; docs/testing.md shows each in use.

memory_bridge   a fresh default bridge in memory, for the length of a block
record          what was published through a bridge, on any backend and from either colour
read_stream     a test client's streaming response, event by event, each with a timeout
aread_stream    the same for async responses
asgi_stream     calls an ASGI app in memory: clients that wait for a response's end cannot read an endless one
parse_sse       bytes back to events, strictly

The modules are recorder, streams, asgi and parser. No test framework is needed: failures are AssertionErrors that say
what was expected.
"""

from .asgi import asgi_stream
from .parser import BrokenStream, ServerSentEvent, SSEParser, parse_sse
from .recorder import Recorder, memory_bridge, record
from .streams import AsyncStreamReader, StreamReader, aread_stream, read_stream

__all__ = [
    "AsyncStreamReader",
    "BrokenStream",
    "Recorder",
    "SSEParser",
    "ServerSentEvent",
    "StreamReader",
    "aread_stream",
    "asgi_stream",
    "memory_bridge",
    "parse_sse",
    "read_stream",
    "record",
]
