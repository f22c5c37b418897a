"""What a person looks at to see whether labels are right, in which order, and what comes of it."""
