"""Configuration: schema, the rules no type says, composing, and texts that YAML misreads."""
