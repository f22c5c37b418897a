"""One module per layout of a data set on disk; each reads a folder into a Dataset."""
