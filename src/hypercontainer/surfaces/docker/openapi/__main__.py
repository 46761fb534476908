"""Prints the document of the version that is named, or of the newest."""

from __future__ import annotations

import json
import sys

from hypercontainer.surfaces.docker.openapi.document import document
from hypercontainer.surfaces.docker.openapi.notation import version
from hypercontainer.surfaces.docker.versions import NEWEST

sys.stdout.write(json.dumps(document(version(sys.argv[1]) if sys.argv[1:] else NEWEST), indent=2) + "\n")
