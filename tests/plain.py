"""The plain recipe's settings: a network without norms, Adam, and nothing averaged."""

from candid.config import load_config

PLAIN = load_config(recipe="plain")
