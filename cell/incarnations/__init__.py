"""Which restore made this database, whether the cell is fenced since, and who opened it."""
