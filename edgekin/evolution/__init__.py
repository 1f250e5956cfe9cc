"""Evolution: genomes with historical markings, species, budgets that no survivor exceeds, and what members cost."""
