"""What takes hours: drills with random moments, again and again, with seeds that the runner gives."""
