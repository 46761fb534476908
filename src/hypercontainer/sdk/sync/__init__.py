"""The blocking classes, made of those in ``hypercontainer.sdk.aio``: each runs its counterpart on the portal's loop."""
