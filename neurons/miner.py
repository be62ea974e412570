"""``python -m neurons.miner --config FILE``: a miner."""

import sys

from neurons.cli import main

if __name__ == "__main__":
    sys.exit(main(["miner", *sys.argv[1:]]))
