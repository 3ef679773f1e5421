"""Models over the rows of a table: from a source to a bundle."""
