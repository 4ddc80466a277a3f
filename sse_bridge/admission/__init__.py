"""Limits and revocations of users' streams: decisions without I/O, and a driver for each colour.

contract        the optional part of a backend's contract: leases and revocations, agreed upon by all processes
grants          the result of an application's check of a client
opening         whether a stream that is about to open may
admissions      the revocations that a hub knows, and the leases of its readers
drivers         carry out the requests of the admissions, one per colour
source_members  streams that follow no channel on a hub
members         the wake and the release of readers and source members on threads
"""
