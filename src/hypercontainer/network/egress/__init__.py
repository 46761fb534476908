"""The way out of pods that say which requests leave them, or with which secrets: a proxy for HTTP and TLS.

``rules`` decides, ``hello`` reads a TLS client's first words, ``authority`` makes certificates, ``streams`` moves
bytes, ``exchange`` requests and their answers, ``proxy`` serves connections, ``wire`` is what hyperd says to it and
hears of it, ``program`` its process.
"""
