"""The demo: an agent chat, orders over SSE and WebSocket, and a rate plot, on Django under uvicorn. `make demo` starts it.

agent/       a small retrieval agent over this project's documentation; knows nothing of Django or of sse_bridge
tasks        what runs apart from requests, in a Celery worker: the agent's runs, batches of orders, load
views        the page, its buttons and its two event streams
meter        events per second and latency in this process
scissors     cuts a client's connections, as a bad network would
asgi         how these are put together
worker       Celery, embedded in this process or a worker of its own
services     redis-server and other child processes
"""
