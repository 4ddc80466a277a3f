"""The client's request as a dependency: ``Annotated[StreamRequest, Depends(stream_request)]``."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from sse_bridge import SSEBridgeError
from sse_bridge.streams import StreamRequest, scope_request


def stream_request(connection: HTTPConnection) -> StreamRequest:
    """The resume id, the channels and the format of a request, for an endpoint that needs them itself.

    Raises:
        HTTPException: 400, a value in the query is invalid.
    """
    try:
        return scope_request(connection.scope)
    except SSEBridgeError as error:
        headers = {"X-Content-Type-Options": "nosniff"}
        raise HTTPException(error.http_status, str(error), headers) from error
