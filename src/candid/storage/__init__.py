"""Whole files or nothing, by path or URL."""
