"""Streams into an ASGI server.

send       a response, with its body or without, into `send`
pushed     a stream of channels, written by the hub while the request's task sleeps
handoff    a view decides, the middleware streams
websocket  a WebSocket session (websocket_source: a user's iterable over a WebSocket)
"""
