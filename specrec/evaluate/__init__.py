"""What the lists and their reasons are worth."""
