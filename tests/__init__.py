"""The tests of sse_bridge; the folders mirror the tree they test."""
