"""``python -m bettensor.neurons``: the same as ``bettensor``."""

import sys

from bettensor.neurons.cli.main import main

sys.exit(main())
