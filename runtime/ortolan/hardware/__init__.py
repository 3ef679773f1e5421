"""Facts about machines, and profiles of boards."""
