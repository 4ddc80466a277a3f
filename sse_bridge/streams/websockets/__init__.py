"""The WebSocket protocol of this library, for any server.

protocol  the messages and subscriptions of a session; no I/O
messages  a client's messages as values
session   the protocol on asyncio
origin    the pages that may open a WebSocket
"""
