"""Writing past a server's own calls where that is cheaper: only this room touches private names of servers and asyncio.

stepping   an ASGI server's `send`, driven without waking the request's task
transport  past uvicorn's `send`, to the transport
socket     past a WSGI server's `write`, to the client's socket
cutting    cuts the connection of a response that must not look complete
"""
