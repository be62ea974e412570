"""``python -m bettensor``: the same as the command ``bettensor``."""

import sys

from bettensor.neurons.cli.main import main

sys.exit(main())
