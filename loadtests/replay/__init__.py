"""A recorded tape played as customers, and every order reconciled with it."""
