"""Network -> Network: the same function, or one that a bound is easier for, spelled differently."""
