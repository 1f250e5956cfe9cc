"""A bundle's body adapted to an arm that has changed: what `edgekin adapt` runs. Numpy and C only."""
