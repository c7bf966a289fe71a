"""What people like: models of listeners, lists for people, and why."""
