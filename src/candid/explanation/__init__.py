"""Explanations of networks, and checks of their maps."""
