"""The foundation: topology < security < runtime < backends. Knows no brokerage noun."""
