"""What a new user types first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.resources import files
from itertools import takewhile
from pathlib import Path

import pytest

from support.servers import server_process
from tamis_client import TamisClient


def tamis(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tamis_server", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == status, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def shop() -> Path:
    return Path(str(files("tamis_pipeline.shop") / "bundle"))


def test_the_demo_shows_history_reasons_stages_and_how_to_go_on() -> None:
    shown = tamis("demo", "--once", "--listen", "127.0.0.1:0").stdout
    for part in (
        "events",
        "matches taste",
        "retrieval",
        "reranking",
        "total",
        "grpcurl",
        "tamis search",
        "full quality",
    ):
        assert part in shown


@pytest.fixture(params=["below", "elsewhere", "on the PATH"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    """Working directory, PATH, and how tamis is typed there."""
    programs = Path(sys.executable).parent
    usual = "/usr/bin:/bin"
    places = {
        "below": (programs.parent, usual, f"{programs.name}/tamis"),
        "elsewhere": (tmp_path, usual, f"{programs}/tamis"),
        "on the PATH": (tmp_path, f"{programs}:{usual}", "tamis"),
    }
    return places[request.param]


def test_what_the_demo_says_to_type_runs_as_copied(place: tuple[Path, str, str]) -> None:
    where, path, tamis_here = place
    environment = {**os.environ, "PATH": path, "COLUMNS": "160"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "tamis_server", "demo", "--listen", "127.0.0.1:0"],
        cwd=where, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    with demo, demo.stdout as shown:
        try:
            lines = list(takewhile(lambda line: not line.startswith("Serving"), shown))
            typed = "".join(lines[lines.index("Call it:\n") + 1 :])
            typed, _, rest = typed.partition("\n\n")
            assert typed.startswith(f"  {tamis_here} recommend")
            assert "make tools" in rest
            ran = subprocess.run(
                ["bash", "-euc", typed], cwd=where, env=environment,
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            demo.send_signal(signal.SIGINT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("full quality") == 2
    assert "bundle_id: " in ran.stdout, "the answer as Python prints it"


def test_the_shipped_bundle_is_whole_and_small(shop: Path) -> None:
    assert "good, 3000 items" in tamis("bundle", "verify", str(shop)).stdout
    assert sum(path.stat().st_size for path in shop.rglob("*") if path.is_file()) < 8_000_000


def test_the_command_line_asks_a_running_server(shop: Path) -> None:
    with server_process(shop) as server:
        ask = ("--target", server.target, "--timeout", "10", "--json")
        answer = json.loads(tamis("recommend", "shopper-0001", "-n", "3", *ask).stdout)
        assert len(answer["items"]) == 3
        like = answer["items"][0]["item_id"]
        related = json.loads(tamis("related", like, "-n", "4", *ask).stdout)
        assert len(related["items"]) == 4
        assert "like" not in tamis("related", "ghost", *ask, status=1).stderr
        ids = tamis("recommend", "shopper-0001", "--target", server.target).stdout
        assert like in ids


def test_the_command_line_filters_and_says_what_may_be_filtered_by(shop: Path) -> None:
    with server_process(shop) as server, TamisClient(server.target, timeout_s=10) as client:
        ask = ("--target", server.target, "--timeout", "10", "--json")

        def asked(*arguments: str) -> list[str]:
            answer = json.loads(tamis(*arguments, *ask).stdout)
            return [item["item_id"] for item in answer["items"]]

        first, second, *_ = asked("recommend", "shopper-0001")
        cheap = ("--where", "price<=30", "--where", "colour!=red, blue", "--exclude", first)
        found = asked("recommend", "shopper-0001", *cheap, "--exclude", second)
        assert len(found) == 10
        assert not {first, second} & set(found)
        for item in client.get_items(found).items:
            assert item.attributes["price"].number <= 30
            assert item.attributes["colour"].text not in ("red", "blue")
        assert first not in asked("related", second, *cheap)
        assert first not in asked("search", "white hoodie", *cheap)

        wrong = ("recommend", "shopper-0001", *ask, "--where")
        assert "there are brand, category" in tamis(*wrong, "prize<=30", status=1).stderr
        assert "colour (category) takes text" in tamis(*wrong, "colour=7", status=1).stderr
        refused = " ".join(tamis(*wrong, "price<30", status=2).stderr.replace("│", "").split())
        assert "name<=number or name>=number" in refused


def test_the_readme_s_python_example_runs_as_written(shop: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    with server_process(shop) as server:
        code = example.replace("127.0.0.1:50051", server.target)
        command = [sys.executable, "-c", code]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert all(float(line[3]) <= 50 for line in lines)


def test_a_bundle_is_inspected_by_its_manifest(shop: Path) -> None:
    manifest = json.loads(tamis("bundle", "inspect", str(shop), "--json").stdout)
    assert manifest["items"] == 3000
    assert manifest["bundle_id"] in tamis("bundle", "inspect", str(shop)).stdout


def test_a_spoilt_bundle_is_refused_with_status_2(tmp_path: Path) -> None:
    error = tamis("bundle", "verify", str(tmp_path), status=2).stderr
    assert error.startswith("tamis: manifest.json: not found")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve"], "bundle.path: the directory of a bundle must be given"),
        (["serve", "--set", "ranking.candidates=0"], "setting ranking.candidates"),
        (["serve", "--set", "nonsense"], "section.key=value"),
        (["config", "--set", "retrieval.sources=1"], "setting retrieval.sources: no such setting"),
    ],
)
def test_a_bad_setting_is_one_clear_line_and_status_2(arguments: list[str], says: str) -> None:
    error = tamis(*arguments, status=2).stderr
    assert says in error.replace("\n", " ")
    assert "Traceback" not in error


def test_config_prints_what_is_in_force() -> None:
    settings = json.loads(tamis("config", "--set", "ranking.candidates=77", "--json").stdout)
    assert settings["ranking"]["candidates"] == 77


def test_config_prints_no_password() -> None:
    printed = tamis("config", "--set", "state.url=redis://tamis:secret@host:6379/0").stdout
    assert 'url = "redis://tamis:***@host:6379/0"' in printed


def test_what_config_prints_is_a_settings_file(tmp_path: Path) -> None:
    printed = tamis("config", "--set", "state.max_history=77").stdout
    (tmp_path / "tamis.toml").write_text(printed)
    read = tamis("config", "--config", str(tmp_path / "tamis.toml")).stdout
    assert read == printed
    assert "max_history = 77" in read


def test_config_says_what_each_setting_is_and_which_are_not_set() -> None:
    printed = tamis("config", "--workers", "3").stdout
    assert (
        "# processes that serve, best one a core; they share a bundle (at least 1, at most 256)\n"
        "workers = 3\n"
    ) in printed
    assert "# directory of the bundle to serve\n# path is not set\n" in printed
    assert "# maximal marginal relevance, or a determinantal point process (mmr, dpp)" in printed
    assert "#     share: of the users (above 0, at most 1)\n" in printed


def test_an_address_in_use_is_one_clear_line(shop: Path, tmp_path: Path) -> None:
    with server_process(shop) as server:
        expected = f"tamis: can't listen on {server.target}: [Errno 98] Address already in use\n"
        state = f"state.url=lmdb://{tmp_path / 'state'}"
        serve = ("serve", "--bundle", str(shop), "--listen", server.target, "--set", state)
        assert tamis(*serve, status=2).stderr == expected
        assert tamis(*serve, "--workers", "2", status=2).stderr == expected
        assert tamis("demo", "--listen", server.target, status=2).stderr == expected
