"""How tickets come and answers go."""
