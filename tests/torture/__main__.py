"""`python -m tests.torture --hours 2 --seed 7`: the torture tests for longer, and with other random numbers."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest

from tests.torture.conftest import SECONDS, SEED


def main() -> int:
    """Run them; words that are not options go to pytest, such as `-k kills`."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--hours", type=float, default=1 / 6)
    parser.add_argument("--seed", type=int, default=0)
    given, rest = parser.parse_known_args()
    os.environ[SECONDS], os.environ[SEED] = str(given.hours * 3600), str(given.seed)
    limit = f"--timeout={int(given.hours * 3600) + 600}"
    return pytest.main(["-m", "torture", "-n", "0", limit, str(Path(__file__).parent), *rest])


if __name__ == "__main__":
    sys.exit(main())
