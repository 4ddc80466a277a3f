"""The records of a run: kept as JSON, asked for medians and ratios.

A ratio is taken within a round, where both sides ran one after the other, and the median over the rounds is reported:
a machine drifts by a third within an hour, and a ratio of medians would keep that.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass
class Results:
    """All records, and what they were measured with.

    Attributes:
        about: machine, versions and time, by shape.
        records: one per run.
    """

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"about": self.about, "records": self.records}, indent=1) + "\n")

    def replace(self, shape: str, about: dict[str, Any]) -> None:
        """Forgets what was measured of this shape: a row is never put together from two runs."""
        self.about[shape] = about
        self.records = [record for record in self.records if record["shape"] != shape]

    def of(self, shape: str, server: str) -> list[Record]:
        return [record for record in self.records if record["shape"] == shape and record["server"] == server]

    def good(self, shape: str, server: str) -> list[Record]:
        return [record for record in self.of(shape, server) if "error" not in record]

    def median(self, shape: str, server: str, key: str) -> float | None:
        """None where nothing was measured. A dotted key looks into records: ``publish.us``."""
        values = [value for record in self.good(shape, server) if (value := _get(record, key)) is not None]
        return statistics.median(values) if values else None

    def ratio(self, shape: str, server: str, other: str, key: str, other_shape: str | None = None) -> float | None:
        """How many times the other's figure this one is; None where one of them is missing."""
        others = {record["round"]: record for record in self.good(other_shape or shape, other)}
        ratios = []
        for record in self.good(shape, server):
            twin = others.get(record["round"])
            mine, its = _get(record, key), _get(twin, key) if twin else None
            if mine is not None and its:
                ratios.append(mine / its)
        return statistics.median(ratios) if ratios else None

    def lost(self, shape: str, server: str) -> int:
        """The worst round's loss, in events."""
        return max((record["lost"] for record in self.good(shape, server)), default=0)


def _get(record: Record, key: str) -> float | None:
    value: Any = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
