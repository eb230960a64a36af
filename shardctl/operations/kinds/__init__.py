"""The kinds of operations, one file each: arguments, facts, the pure planner, the actions of its steps."""
