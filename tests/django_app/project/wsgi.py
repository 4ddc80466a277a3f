"""For gunicorn's gthread and gevent workers."""

import os

from django.core.wsgi import get_wsgi_application

from sse_bridge.streams import PushMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_app.project.settings")
app = PushMiddleware(get_wsgi_application())
