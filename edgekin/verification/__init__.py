"""How well a detector of damage works: on simulated streams, healthy, damaged and disturbed."""
