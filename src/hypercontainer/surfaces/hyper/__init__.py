"""The native API: ``contract/routes.py`` done by the engine, and the frames of attached processes."""
