"""Users come and go: a copy that grows while they trade, a short halt, a certificate, a new owner."""
