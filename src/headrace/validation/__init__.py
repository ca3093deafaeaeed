"""The performance model against measured points: how accurate is it, cell by cell."""
