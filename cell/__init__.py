"""A cell: app servers, a worker and a relay around one PostgreSQL that holds its users' orders, ledger and positions."""
