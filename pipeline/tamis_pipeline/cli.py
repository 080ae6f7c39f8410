"""``tamis pipeline``: the offline half, on the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tamis_pipeline.clip import cli as clip
from tamis_pipeline.disk import telling
from tamis_pipeline.embedding.cli import embed
from tamis_pipeline.extras import module_of
from tamis_pipeline.options import Format, Source
from tamis_pipeline.progress import Progress
from tamis_pipeline.scoring.cli import MOMENTS, score
from tamis_pipeline.shop.cli import shop
from tamis_server.bundles.manifest import read_manifest
from tamis_server.toml import document

if TYPE_CHECKING:
    from tamis_pipeline.config import PipelineConfig

app = typer.Typer(help="From data to a bundle.", no_args_is_help=True)
app.command()(shop)
app.command()(embed)
app.command()(score)
app.add_typer(clip.app, name="clip")


Config = Annotated[str, typer.Option(help="A TOML file, or the name of one of the pipeline's own.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="The same seed makes the same bundle; else the config's.")
]
Work = Annotated[Path, typer.Option(help="Directory where results of stages are kept.")]
Name = Annotated[str, typer.Option(help="Name of the bundle.")]


@app.command()
def build(
    out: Annotated[Path, typer.Option("--out", help="Directory of the bundle to write.")],
    source: Annotated[
        Path | None, typer.Option("--input", help="Directory of the data set.")
    ] = None,
    config: Config = "default",
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle; else that of its directory.")
    ] = None,
    seed: Seed = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Directory where results of stages are kept for later runs; else none."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--from-manifest",
            help="Make a bundle again: its directory, or a run.json. It has configuration, name "
            "and seed, and the input unless --input says where that is now.",
        ),
    ] = None,
) -> None:
    """Train, index and evaluate, and write a bundle; a run that was stopped is taken up again."""
    pipeline = module_of("build")
    progress = Progress(Console(stderr=True))
    if source is None and manifest is None:
        raise typer.BadParameter("--input or --from-manifest must be given")
    with telling():
        if manifest is not None:
            again = module_of("run").read_run(manifest)
            built = pipeline.rebuild(again, out, progress, source, work)
        else:
            settings = _settings(config, seed)
            called = name or out.resolve().name
            built = pipeline.build(settings, source, out, called, progress, work)
    typer.echo(built.bundle_id)


@app.command()
def finetune(
    bundle: Annotated[Path, typer.Option(help="Directory of the bundle that is served now.")],
    source: Annotated[
        Path, typer.Option("--input", help="The bundle's data set, with newer events.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the bundle to write.")],
    config: Annotated[
        str | None,
        typer.Option(
            help="Whose settings of fine-tuning, evaluation and drift to use: a TOML file, or the "
            "name of one of the pipeline's own; else those that the bundle was made with."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Directory where results of stages are kept for later runs; else none."),
    ] = None,
) -> None:
    """Let a bundle learn from newer events, item vectors staying as they are, and write what it
    becomes; measured beside the bundle itself."""
    tuning = module_of("finetuning")
    settings = None if config is None else _settings(config, None)
    with telling():
        tuned = tuning.finetune(bundle, source, out, Progress(Console(stderr=True)), settings, work)
    typer.echo(tuned.bundle_id)


@app.command()
def train(source: Source, work: Work, config: Config = "default", seed: Seed = None) -> None:
    """Train the models that a bundle is made of, and keep them in the workspace."""
    _up_to("ranker", source, work, _settings(config, seed), "")


@app.command()
def index(
    source: Source,
    work: Work,
    name: Name,
    config: Config = "default",
    seed: Seed = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto", help="Build a graph and inverted lists, and keep the faster for the recall."
        ),
    ] = False,
    recall: Annotated[
        float, typer.Option(min=0.01, max=0.9999, help="With --auto: of the nearest 100.")
    ] = 0.95,
) -> None:
    """Up to a bundle that has not been evaluated; prints where it is."""
    settings = _settings(config, seed)
    if auto:
        wanted = {"index": {"kind": "auto", "recall": recall}}
        settings = type(settings).model_validate({**settings.model_dump(), **wanted})
    typer.echo(_up_to("index", source, work, settings, name))


@app.command()
def evaluate(
    source: Source,
    work: Work,
    name: Name,
    config: Config = "default",
    seed: Seed = None,
    report: Annotated[
        Path | None, typer.Option(help="Directory to write it to as JSON, Markdown and HTML.")
    ] = None,
) -> None:
    """Up to what a bundle's evaluation.json says; prints it."""
    measured = _up_to("evaluate", source, work, _settings(config, seed), name)
    if report is not None:
        module_of("bundle").write_report(report, measured)
    typer.echo(json.dumps(measured, indent=2))


@app.command()
def baselines(source: Source, config: Config = "default", seed: Seed = None) -> None:
    """What simple methods reach on a configuration's split, as JSON; trains nothing else."""
    compare = module_of("evaluation.report").compare
    measured = compare(source, _settings(config, seed), Progress(Console(stderr=True)))
    typer.echo(json.dumps(measured, indent=2))


@app.command()
def simulate(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Directory of the data set to write.")],
    dataset: Format = "own",
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same behaviour.")] = 0,
) -> None:
    """Give a catalogue made-up users, to try the pipeline before there are any."""
    events = module_of("simulation").write(dataset, source, out, users, seed)
    Console(stderr=True).print(f"{out}: {events} events of {users} made-up users", markup=False)


@app.command()
def publish(
    bundle: Annotated[Path, typer.Option(help="Directory of the bundle.")],
    to: Annotated[str, typer.Option(help="A directory, or s3://bucket/prefix.")],
    config: Config = "default",
    force: Annotated[bool, typer.Option("--force", help="Promote whatever was measured.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Make a bundle the one that is served, unless it is worse by more than the configuration's
    gates allow: then exit status 3."""
    gates, publishing = module_of("gates"), module_of("publish")
    margins = _settings(config, None).gates.margins
    try:
        verdicts = publishing.publish(bundle, publishing.store_of(to), margins, force)
    except gates.NotPromoted as refused:
        Console(stderr=True).print(f"tamis: {refused}", markup=False, soft_wrap=True)
        sys.exit(3)
    bundle_id = read_manifest(bundle).bundle_id
    if as_json:
        compared = [asdict(each) for each in verdicts]
        typer.echo(json.dumps({"bundle_id": bundle_id, "compared": compared}))
        return
    for verdict in verdicts:
        typer.echo(verdict)
    typer.echo(f"{bundle_id} is served from {to}")


@app.command()
def drift(
    source: Source,
    against: Annotated[Path, typer.Option(help="The bundle, or run.json, of the run before.")],
    config: Config = "default",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Whether a data set is still like that of a run before; exit status 3 where it is not."""
    drifting, readers = module_of("drift"), module_of("readers")
    before = module_of("run").read_run(against).statistics
    settings = _settings(config, None)
    data = readers.read_dataset(settings.dataset.kind, source)
    found = drifting.drift(before, data, settings.drift)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found]))
    else:
        typer.echo("\n".join(map(str, found)) or "nothing is out of bounds")
    if found:
        sys.exit(3)


@app.command("config")
def show_config(config: Config = "default") -> None:
    """Print a configuration with every key, as TOML to edit and use."""
    typer.echo(document(_settings(config, None).model_dump()), nl=False)


def _up_to(stage: str, source: Path, work: Path, settings: PipelineConfig, name: str) -> Any:
    pipeline, workspace = module_of("build"), module_of("workspace")
    progress = Progress(Console(stderr=True))
    with telling(), workspace.open_workspace(work, progress) as opened:
        graph = pipeline.Pipeline(settings, source, name, opened, progress)
        return getattr(graph, stage).value


def _settings(config: str, seed: int | None) -> PipelineConfig:
    settings: PipelineConfig = module_of("config").load_config(config)
    return settings if seed is None else settings.model_copy(update={"seed": seed})


@app.command()
def ingest(
    logs: Annotated[
        list[Path], typer.Option("--log", help="Directory of an event log. May be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the data set to write.")],
    source: Annotated[
        Path | None,
        typer.Option("--input", help="Data set with items and earlier events; else none."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, help="Logged events from then on; UTC without an offset."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="Logged events before then.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Add what servers logged to a data set, for retraining; each event id of a user once."""
    result = module_of("ingest").ingest(logs, out, source, since, until)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        if name != "kinds":
            typer.echo(f"{name.replace('_', ' '):<14} {value}")
    for kind, count in result.kinds.items():
        typer.echo(f"  {kind:<12} {count}")
