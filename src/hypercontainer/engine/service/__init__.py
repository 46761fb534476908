"""What surfaces ask of the engine, by kind."""
