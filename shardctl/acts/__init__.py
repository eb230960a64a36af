"""Privileged acts on the control plane: who did what to which part, when, why, and how it ended."""
