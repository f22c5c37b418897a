"""Outputs of well-known face libraries, one module each."""
