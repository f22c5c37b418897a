"""A run in use: the model as one function from pixels to probabilities, as a file, on pictures."""
