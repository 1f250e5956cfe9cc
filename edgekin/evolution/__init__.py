"""Evolution: genomes with historical markings, species, budgets that no survivor exceeds, islands, and what they cost."""
