"""Documents that users, programs and our own parts exchange, checked once where they come in."""
