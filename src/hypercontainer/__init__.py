"""Hyper runs Docker and OCI images directly on a hypervisor.

The data flow, and so the direction of imports, is ``image -> rootfs -> hypervisor -> agent -> engine ->
surfaces``, with ``contract`` below all that speaks with a client; see ``docs/architecture.md``.

For programs that use it (``docs/sdk.md``) the names of ``hypercontainer.sdk.names`` are here; they are imported when
one of them is first asked for, since the command line imports this too.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers see the names themselves, and that there are no others
if TYPE_CHECKING:
    from hypercontainer.sdk.names import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        if name[:1].isupper():  # else it may be a module of this package: no reason to import
            from hypercontainer.sdk import names

            if name in names.__all__:
                return getattr(names, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        from hypercontainer.sdk import names

        return sorted({*globals(), *names.__all__})
