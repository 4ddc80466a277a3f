"""Coverage-guided fuzzing of the cases in `fuzz_cases`, by atheris: ``make fuzz``, or with a number of its own

    python -m tests.security.fuzz_encoder -runs=1000000 -max_len=512

The arguments are libFuzzer's. The first finding ends the run with its input in a file. It begins with one good input for each
case, since nobody finds a record's head or a JSON object by changing bytes, and what lies behind them would never be reached.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    # by packages of the top level: atheris looks no deeper, so records, tokens and streams are among them
    with atheris.instrument_imports(include=["sse_bridge", "tests"]):
        from tests.security.fuzz_cases import SEEDS, one_case
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], one_case)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
