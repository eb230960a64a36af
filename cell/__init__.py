"""A cell: app servers, a worker and a relay around one PostgreSQL with its users' orders, ledger and positions."""
