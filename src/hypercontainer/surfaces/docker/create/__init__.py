"""What the body of Docker's ``POST /containers/create`` asks for, as a ContainerSpec (contract/spec.py).  Pure.

Modules: ``body`` is its shape, ``fields`` what becomes of each field of HostConfig, ``spec`` the translation, with
``mounts``, ``networks``, ``resources`` and ``logs`` for their parts.
"""
