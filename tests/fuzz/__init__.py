"""Inputs that nobody wrote, for every reader of what strangers, peers or files say: ``make fuzz``."""
