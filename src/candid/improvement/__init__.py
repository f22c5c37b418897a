"""Remedies for a model that fails some people, and a fair contest between them."""
