"""`python -m tests.house`: what it costs to follow the code from file to file, and what shape it has.

--flow opening (revocation, publishing, reading) prints the steps of that flow, in their order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sse_bridge
import sse_bridge_asgi
from tests.house.flows import Flows, measure
from tests.house.table import flow_rows, found, shape_rows, text_table
from tests.support.process import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__.split("\n")[0])
    parser.add_argument("--flow", choices=Flows._fields, help="print the steps of one flow instead")
    arguments = parser.parse_args()
    for package in (sse_bridge, sse_bridge_asgi):
        if not Path(str(package.__file__)).is_relative_to(ROOT):
            sys.exit(
                f"expected {package.__name__} of {ROOT}, got {package.__file__}: run it from there, with its own venv"
            )
    if arguments.flow:
        for step in getattr(measure()[0], arguments.flow):
            print(f"{step.file:45} {step.name}{'' if step.begins else '  (goes on)'}")
        return
    print(text_table([*flow_rows(), *shape_rows()]))
    print()
    print(found())


main()
