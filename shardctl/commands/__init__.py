"""One file per noun: parse, one call, print. Nothing is decided here."""
