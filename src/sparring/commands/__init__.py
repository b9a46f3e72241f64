"""Commands that have a file of their own: what each is about, its arguments, and `run`, which gives the exit status.

Nothing here needs torch before a command runs.
"""

from __future__ import annotations

import argparse

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130  # exit statuses


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The option that lets texts import code."""
    about = "let the recipe's texts import code by dotted names; only for recipes of people you trust"
    parser.add_argument("--trust", action="store_true", help=about)
