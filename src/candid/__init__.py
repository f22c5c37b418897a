"""Candid: labelled face images in; a classifier and the whole truth about it out."""

__version__ = "0.1.0"
