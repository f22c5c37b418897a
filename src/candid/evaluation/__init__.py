"""From predictions to how good they are; nothing here imports torch."""
