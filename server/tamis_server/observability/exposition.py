"""What several processes measured, as one page for Prometheus: each sample says whose it is."""

from __future__ import annotations

from collections.abc import Mapping


def merged(pages: Mapping[str, str], label: str) -> str:
    """One page of ``pages``, by the value of ``label`` that their samples get.

    All are in Prometheus' text format; of a metric that several have, the first one's help stands.
    """
    comments: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for value, page in pages.items():
        metric = ""
        for line in page.splitlines():
            if line.startswith("# "):  # HELP or TYPE, the metric, and the rest
                kind, metric = line.split(" ", 3)[1:3]
                comments.setdefault(metric, {}).setdefault(kind, line)
            elif line:
                samples.setdefault(metric, []).append(_labelled(line, f'{label}="{value}"'))
    lines = [
        line
        for metric, said in comments.items()
        for line in (*said.values(), *samples.get(metric, ()))
    ]
    return "\n".join(lines) + "\n"


def _labelled(sample: str, label: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f"{name}{{{label},{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"
