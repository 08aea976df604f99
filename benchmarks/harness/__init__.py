"""What the benchmarks share: the generator, the servers, the measurements, the tables."""

import sys
from pathlib import Path

# The peers of the tests are not installed: they are found in this checkout.
sys.path.insert(0, str(Path(__file__).parents[2]))
