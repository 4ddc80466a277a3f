"""A smaller demo, on Flask under gunicorn's gevent workers, with Redis: `python -m demo_flask` starts it.

app      the page, one event stream, one generator as a stream
sources  what publishes: a ticker in a process of its own, and a job on a greenlet of the web worker

The agent, the child processes and the look are those of `demo_django`, in the parts that know nothing of Django.
"""
