"""Networks, and a network with everything that it needs to answer."""
