"""The asyncio classes: the implementation.  ``hypercontainer.sdk.sync`` is made of them, method by method."""
