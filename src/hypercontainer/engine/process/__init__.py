"""Processes in a guest, as the engine holds them."""
