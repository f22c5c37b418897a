"""The report's charts: records in; a specification, a drawing and words out."""
