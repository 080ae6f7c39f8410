"""``compare.py A.json B.json``: is B worse than A, beyond noise? Exit status 1 if it is.

2: the two can't be compared. Both are reports of ``make loadtest``; measure them in one run, by
turns (--beside), where you can.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scenarios import report
from scenarios.comparison import (
    SHARE_TOLERANCE,
    TOLERANCE,
    Change,
    NotComparable,
    are_paired,
    compare,
)
from scenarios.report import NoReport

_LINE = "{:<34} {:>11} {:>11} {:<11} {:>8} {:>19}  {}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="compare.py", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help=f"change that is let pass (0.03: 3 %%); of shares at most {SHARE_TOLERANCE}, absolute",
    )
    options = parser.parse_args()
    try:
        before, after = report.read(options.before), report.read(options.after)
        changes = compare(before, after)
    except (NoReport, NotComparable) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    if not are_paired(before, after):
        print("not measured by turns: a slower machine looks like a slower server")
    print(_LINE.format("figure", "A", "B", "unit", "change", "95 % interval", ""))
    for change in changes:
        _show(change, options.tolerance)
    gone = {each.name for each in before.figures} - {each.figure.name for each in changes}
    if gone:
        print(f"only in A: {', '.join(sorted(gone))}")
    worse = [change for change in changes if change.regressed(options.tolerance)]
    print(f"{len(worse)} of {len(changes)} figures worse beyond noise")
    return 1 if worse else 0


def _show(change: Change, tolerance: float) -> None:
    verdict = ""
    if change.regressed(tolerance):
        verdict = f"WORSE (p {change.p:.2g})"
    elif change.improved(tolerance):
        verdict = f"better (p {change.p:.2g})"
    interval = f"{change.low:+.1%} to {change.high:+.1%}"
    print(
        _LINE.format(
            change.figure.name,
            f"{change.figure.mean:.4g}",
            f"{change.after.mean:.4g}",
            change.figure.unit,
            f"{change.change:+.1%}",
            interval,
            verdict,
        ).rstrip()
    )


if __name__ == "__main__":
    raise SystemExit(main())
