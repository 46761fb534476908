"""``python -m hypercontainer.daemon``: how the command line starts hyperd."""

import sys

from hypercontainer.daemon.main import entry

sys.exit(entry())
