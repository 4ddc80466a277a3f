"""Coverage-guided fuzzing of the cases in `fuzz_cases`, by atheris: ``make fuzz``, or with a number of its own

    python -m tests.security.fuzz_encoder -runs=1000000 -max_len=512

The arguments are libFuzzer's. The first finding ends the run with its input in a file.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    with atheris.instrument_imports(
        include=["sse_bridge.wire", "sse_bridge.events", "sse_bridge.follow", "tests.security"]
    ):
        from tests.security.fuzz_cases import one_case
    atheris.Setup(sys.argv, one_case)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
