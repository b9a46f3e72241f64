"""`python -m sparring` is the command `sparring`."""

import sys

from sparring.cli import main

if __name__ == "__main__":
    sys.exit(main())
