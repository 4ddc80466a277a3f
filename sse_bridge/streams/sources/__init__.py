"""Streams of a user's own iterable: its events and values are in no log.

bodies     `stream_source`, and its two bodies
script     the frames and the end of such a stream, decided without I/O
items      a source's items to frames
iterables  the kinds of sources, and how an unused one is closed
pumps      draw items from a source (drivers: of either colour for a body of either colour)
"""
