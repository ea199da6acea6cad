"""Models, fits and scores by name: all registries of names, for the command line and YAML files."""
