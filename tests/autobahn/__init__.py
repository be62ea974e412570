"""The Autobahn test suite against our listener, and our dialer against it: ``make autobahn``."""
