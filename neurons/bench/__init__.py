"""``bettensor bench``: measures this software on this machine, beside the machine's own limits."""
