"""Made-up orders, and the names of the channels that views, tasks and the meter share."""

from __future__ import annotations

import random
import time
from typing import Any, Final

ORDERS: Final = "orders"
LOAD: Final = "load"

_GOODS: Final = (
    "Espresso cups", "Desk lamp", "Wool blanket", "Chess set", "Field notes", "Bicycle bell", "Tea tin", "Globe",
    "Darts", "Linen apron", "Pocket radio", "Paper kite",
)  # fmt: skip


def new_order(source: str) -> dict[str, Any]:
    """An order: who published it, what it is, and when (seconds since 1970), which is what the meter reads."""
    return {
        "number": f"{random.randrange(36**5):0>9}"[-6:],
        "item": random.choice(_GOODS),
        "cents": random.randrange(450, 19_900, 50),
        "source": source,
        "at": time.time(),
    }
