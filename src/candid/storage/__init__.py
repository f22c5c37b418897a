"""Files by path or URL, written completely or not at all."""
