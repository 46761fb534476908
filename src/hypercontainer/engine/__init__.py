"""The engine: the only place with policy.  ``engine.engine`` puts it together."""
