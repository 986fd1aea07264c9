"""``python -m bakeoff.environments``: build the environments of a matrix."""

import sys

from bakeoff.environments.building import main
from bakeoff.foundation.errors import EnvironmentFailed

try:
    sys.exit(main(sys.argv[1:]))
except EnvironmentFailed as error:
    sys.exit(f"error: {error}")
