"""From predictions to what is true; nothing here imports torch."""
