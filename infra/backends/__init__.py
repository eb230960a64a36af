"""Where a stack runs. Backends know commands, ports and folders; they never import a service."""
