"""Our library under the servers that are measured; the broker is SSE_BRIDGE_URL."""
