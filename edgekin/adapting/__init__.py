"""A bundle's body adapted to an arm that has changed: what `edgekin adapt` runs. Only `retrain` needs torch."""
