"""Keys and tokens: who a customer, a router or an operator is. No database, no HTTP, no clock of its own."""
