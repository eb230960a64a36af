"""What to watch, when to wake a person, and what to show: made from the metric tables of all processes."""
