"""For gunicorn's gthread and gevent workers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_app.project.settings")
app = get_wsgi_application()
