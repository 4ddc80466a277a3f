"""Streams that follow channels.

response  `stream_channels`: the response that an adapter hands over
script    the frames and the end of such a stream, decided without I/O
bodies    a sync and an async iterator of bytes
"""
