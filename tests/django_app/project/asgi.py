"""For ASGI servers: Django streams by itself."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_app.project.settings")
app = get_asgi_application()
