"""What people did: events, and what a person's events say of the tracks that they are of."""
