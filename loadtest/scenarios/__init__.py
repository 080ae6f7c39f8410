"""Load tests of a served bundle: what is asked, by whom it is offered, and what is reported.

``python -m scenarios SCENARIO`` (docs/load-testing.md); each module says what it does.
"""

from importlib.resources import files
from pathlib import Path

DEMO = Path(str(files("tamis_pipeline.shop") / "bundle"))
