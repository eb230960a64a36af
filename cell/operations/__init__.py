"""What operators may see of a cell, and the little they may change."""
