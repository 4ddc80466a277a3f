"""The random source of all jitter.

`random`'s shared generator does not serve: a program that seeds it would make all its processes reconnect at the same
moment, and our draws would change the program's own sequence. The system's generator is a call into the kernel per
number, three for each stream that opens. A forked child draws a new seed.
"""

from __future__ import annotations

import os
import random
from typing import Final

CHANCE: Final = random.Random()

if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(after_in_child=CHANCE.seed)
