"""Images: reference -> registry or archive -> verified blobs, by digest.

Import the submodules; ``reference`` and ``credentials`` are cheap, for the command line.
"""
