"""``python -m neurons``: the same as ``bettensor``."""

import sys

from neurons.cli import main

sys.exit(main())
