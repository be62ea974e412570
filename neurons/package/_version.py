"""The installed version, in a module of its own: ``importlib.metadata`` is slow to import."""

from importlib.metadata import version

__version__ = version("bettensor")
