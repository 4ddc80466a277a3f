"""The Channels adapter: consumers in this process, and a project under daphne and uvicorn."""
