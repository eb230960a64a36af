"""History that ended long ago, moved out of the way of what is written now."""
