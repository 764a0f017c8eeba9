"""Show it all on this machine: a collector and three departments, with made-up rows, a writer that changes them, and
programs that are killed on the way; then compare source and platform.

examples:
  forebay-collector demo
  forebay-collector demo --seconds 60
  forebay-collector demo --live
"""

from __future__ import annotations

import argparse
from importlib import import_module

from forebay_collector.cli.office import Office


def add_arguments(parser: argparse.ArgumentParser) -> None:
    import_module("forebay_collector.demo.run").add_arguments(parser)


def run(arguments: argparse.Namespace, office: Office) -> int:
    code: int = import_module("forebay_collector.demo.run").main(arguments)
    return code
