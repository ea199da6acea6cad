"""Log densities of a pair for each particle and datum; all of them are combined here."""
