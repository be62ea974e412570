"""``bettensor bench``: how fast this software is on this machine, beside what the machine itself allows."""
