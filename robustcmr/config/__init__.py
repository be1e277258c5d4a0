"""Run configuration: typed schema, YAML and overrides, errors with suggestions."""
