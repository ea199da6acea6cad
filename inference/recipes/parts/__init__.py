"""The built-in parts of models and fits: each is registered by a decorator on the function that builds it."""
