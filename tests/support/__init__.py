"""What tests stand on: real servers, fresh databases, a running stack. Nothing here imitates anything."""
