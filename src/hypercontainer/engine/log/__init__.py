"""What containers write, kept on disk."""
