"""Places that decide the same are found, and those that only look like one are not."""

from __future__ import annotations

from tests.house.conftest import Write
from tests.house.places import admit_methods, continuity_judges, opening_drivers

DRIVER = """
class Body:
    def open_stream(self):
        if self.streams.full:
            return
        hub.register(self)
        if not self.ready():
            return

    def ready(self):
        return reader.ready()
"""
OTHERS = """
class Hub:
    def enter(self): ...
    def register(self): ...
    def ready(self): ...
    def admit(self): ...


class Guest:
    def wait(self):
        while not self.state.ready(self):
            pass
        return self.admission.admit(self)
"""


def test_a_driver_takes_three_steps_in_any_of_its_methods(write: Write) -> None:
    paths = [write("sse_bridge/streams/a.py", DRIVER), write("sse_bridge/hub/b.py", OTHERS)]
    assert opening_drivers(paths) == ["sse_bridge.streams.a.Body"]
    runner = "def run():\n    hub.enter()\n    x.admit()\n    y.open()\n"
    assert opening_drivers([write("sse_bridge/streams/c.py", runner)]) == ["sse_bridge.streams.c.run"]


def test_admit_counts_where_streams_are_admitted(write: Write) -> None:
    paths = [write("sse_bridge/hub/b.py", OTHERS), write("sse_bridge/backends/breaker.py", OTHERS)]
    assert admit_methods(paths) == ["sse_bridge.hub.b.Hub.admit"]


def test_who_compares_a_prev_with_a_check_judges_continuity(write: Write) -> None:
    text = """
def judge(point, entry):
    return entry.offset == point.offset + 1 and entry.prev == point.check


class Window:
    def put(self, entry):
        if (entry.offset - 1, entry.prev) != (self.head.offset, self.head.check):
            raise ValueError

    def first(self, entry):
        return entry.prev == GENESIS and entry.check != entry.time


def encode(entry):
    return pack(entry.prev, entry.check)
"""
    path = write("sse_bridge/records/continuity.py", text)
    assert continuity_judges([path]) == [
        "sse_bridge.records.continuity.judge",
        "sse_bridge.records.continuity.Window.put",
    ]
