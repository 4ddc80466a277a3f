"""The main job on real input: publishers and readers of every kind, over a bad network and through losses of the log.

stage        everything that runs besides the test: Redis, servers, publishers, and the readers' bad network
publishers   eight publishers, told what to do through a folder
readers      ten readers that come back by themselves
log          what the log said, and so what every reader must have seen
"""
