"""The neurons: the only place that knows argv, YAML, wallets, sockets, databases, signals."""

if __name__ != "bettensor.neurons":  # the folder itself is on the path: most subnets have a package of this name
    raise ImportError("this is bettensor.neurons: import it by that name, and not neurons")
