"""The life of an open stream of any kind: its opening, its deadlines and its end.

opening          whether a stream may open: one order for all, without I/O, and a runner each for threads and loops
bodies           the iterators of bytes that servers take, one per colour
ending           the reasons why a stream is ended, its deadlines and answers (a status, a last frame, a cut, a close
                 code), and the base of all scripts
write_timeout    the limit for a write that the client does not take
registry         the open streams of a bridge, and their drain
signals          the drain at SIGTERM and SIGINT
retirement       servers whose workers stop without a signal
bridge_protocol  the protocol of the bridge that streams use
"""
