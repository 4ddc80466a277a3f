"""Tests of sse_bridge.wire."""
