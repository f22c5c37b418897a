"""From records to the report, the model card and their figures; nothing here imports torch."""
