"""`make bench`: what Hyper costs, beside what it is measured against, in one run, turn by turn."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]
