"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Option("--input", help="Directory of the data set.")]
Format = Annotated[str, typer.Option("--dataset", help="Which format the data set has.")]
