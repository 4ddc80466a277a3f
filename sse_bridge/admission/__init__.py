"""Limits and revocations of users' streams: decisions without I/O, and a driver for each colour.

contract    the optional part of a backend's contract: leases and revocations, agreed upon by all processes
grants      the result of an application's check of a client
admissions  the revocations that a hub knows, and the leases of its readers
drivers     carry out the requests of the admissions, one per colour, and judge streams that open
members     readers on threads and who closes them, and streams that follow no channel on a hub
"""
