"""The fuzzer's cases on hypothesis's inputs, in every run; a million of atheris's own behind the marker soak."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.security.fuzz_cases import CASES
from tests.support.process import ROOT

RECORD = b"1 1 0 1790000000000 Check123 uT order.paid\ndata"
# pieces that matter to one case or another, in any order, between anything else
PIECES = [
    b"\r", b"\n", b"\0", b"\r\n\r\n", b"|", b",", b" ", b"data: ", b"id: 7\n", b"event: open\n", b"\xe2\x80\xa8", b"\xe2\x80\xa9",
    b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1e", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"\\", b"stream.gap", RECORD,
    b"Epoch123 1 ", b"abcdefgh-E-1-C", b"-1", b"9" * 30, b"1_0", b'{"type":"subscribe","channels":["a"]}', b"NaN", b"uJ x\n",
]  # fmt: skip
inputs = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=10).map(b"".join)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@settings(max_examples=60)
@given(inputs)
@example(RECORD)
@example(b"Epoch123 1 %d\n%b" % (len(RECORD), RECORD))
@example(b"Epoch123 -1\n")
@example(b"\xff 1\n")
@example(b"1 +1 0 1790000000000 Check123 uT x\n")
@example(b"1 1_0 0 1790000000000 Check123 uT x\n")
@example(b"1 1 0 %b Check123 uT x\n" % (b"9" * 300))
def test_the_cases_hold(case, raw: bytes) -> None:
    case(raw)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed: make fuzz")
def test_a_million_cases() -> None:
    command = [sys.executable, "-m", "tests.security.fuzz_encoder", "-runs=1000000", "-max_len=512"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"Done 1000000 (runs|in)", done.stderr), done.stderr[-500:]
