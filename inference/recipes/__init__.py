"""Models, fits and scores by name: the only place with registries of names, for the command line and YAML files."""
