"""From predictions to the groups for whom the model fails; nothing here imports torch."""
