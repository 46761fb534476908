"""Images from Dockerfiles: a builder in a VM of its own, which keeps what it has made."""
