"""Where jitter comes from.

Not from the `random` module's own generator: programs seed that one, and then all their processes would come back at the same
moment; and what they draw from it themselves must not depend on who connects meanwhile. The system's is also right after a fork.
"""

from __future__ import annotations

import random
from typing import Final

CHANCE: Final = random.SystemRandom()
