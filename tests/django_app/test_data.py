"""Data as Django has it: translations, choices and safe strings are texts; models and queries are refused by name.

project/data.py is the program, since Django can be set up once in a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.process import child_environment


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.django_app.project.data"],
        env=child_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("a lazy text", '"Ja"'),
        ("in a list, as a key and a value", '["Ja",{"Ja":"Ja"}]'),
        ("a label of choices", '{"label":"Nein","value":"paid"}'),
        ("choices", '[["open","Ja"],["paid","Nein"]]'),
        ("as text", "Ja"),
        ("of a source", "data: Ja\n\n"),
        ("of a source's event", 'data: "Ja"\n\n'),
        ("another language", '"Oui"'),
        ("another lazy text", '"made late"'),
        ("members", '["open",3,["OPEN","PAID"],[3]]'),
        ("a safe string", '{"open":"<b>"}'),
        ("a lazy object of a text", True),
        ("a type", ["paid", {"status": "paid"}]),
    ],
)
def test_texts_are_said_in_the_language_of_who_publishes(told: dict[str, Any], what: str, expected: Any) -> None:
    assert told[what] == expected


@pytest.mark.parametrize(
    ("what", "name", "instead"),
    [
        ("a model", "a Django model (tests.django_app.project.data.Receipt)", "publish the fields"),
        ("a model in data", "a Django model", "model_to_dict"),
        ("a lazy object of a model", "a Django model", "publish the fields"),  # as request.user is
        ("a query", "a Django QuerySet (tests.django_app.project.data.Receipt)", "list(queryset.values('id'"),
        ("a query of values", "a Django QuerySet", "list(queryset.values('id'"),
        ("a raw query", "a raw query of Django", "a list of dicts"),
        ("a manager", "a manager of a Django model", "Order.objects.values"),
        ("a file", "a file of a Django model", "its .name or its .url"),
    ],
)
def test_models_and_queries_are_refused_by_name(told: dict[str, Any], what: str, name: str, instead: str) -> None:
    message = told[what].replace("__main__", "tests.django_app.project.data")
    assert name in message
    assert instead in message
