"""The decision makers of a neuron: events in, events out."""

# the folder itself may be on the path: a second copy of these modules would have a registry of events of its own
if __name__ != "bettensor.actors":
    raise ImportError("this is bettensor.actors: import it by that name, and not actors")
