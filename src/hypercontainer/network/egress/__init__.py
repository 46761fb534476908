"""The way out of pods that say which requests leave them, or with which secrets: a proxy for HTTP and TLS.

``rules`` decides, ``hello`` reads a TLS client's first words, ``authority`` makes certificates, ``streams`` moves bytes,
``exchange`` one request and its answer, ``proxy`` serves connections, ``program`` is its process, ``control`` what is
said to that.
"""
