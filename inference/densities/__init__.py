"""Log densities of a pair for each particle and datum: the one place where they are combined."""
