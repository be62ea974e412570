"""``python -m neurons.validator --config FILE``: a validator."""

import sys

from neurons.cli import main

if __name__ == "__main__":
    sys.exit(main(["validator", *sys.argv[1:]]))
