"""``python -m anomaly_app.cli`` is ``anomaly``."""

import sys

from anomaly_app.cli import main

sys.exit(main())
