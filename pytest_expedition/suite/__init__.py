"""Makes traffic: the target, plans, and what carries them out."""
