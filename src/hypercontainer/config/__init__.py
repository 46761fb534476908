"""Configuration: flags over environment over file over defaults.  docs/configuration.md describes every key.

``locations`` is what the command line needs to find hyperd, and imports nothing of weight; ``load_config``
gives the whole, for hyperd.  Both are names of this package; the heavy one is imported when it is asked for.
"""

from __future__ import annotations

from hypercontainer.config.places import Locations, locations, prepare_directories

TYPE_CHECKING = False  # type checkers know the name; importing typing would cost more than everything here
if TYPE_CHECKING:
    from hypercontainer.config.loading import load_config
    from hypercontainer.config.model import (
        Config,
        Defaults,
        Factory,
        ImageRule,
        Images,
        Layers,
        Logging,
        Machine,
        Networks,
        Policy,
        RbdCluster,
        Registries,
        SizePolicy,
        Volumes,
    )

__all__ = [
    "Config",
    "Defaults",
    "Factory",
    "ImageRule",
    "Images",
    "Layers",
    "Locations",
    "Logging",
    "Machine",
    "Networks",
    "Policy",
    "RbdCluster",
    "Registries",
    "SizePolicy",
    "Volumes",
    "load_config",
    "locations",
    "prepare_directories",
]


def __getattr__(name: str) -> object:
    if name == "load_config":
        from hypercontainer.config.loading import load_config

        return load_config
    if name in __all__:
        from hypercontainer.config import model

        found: object = getattr(model, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
