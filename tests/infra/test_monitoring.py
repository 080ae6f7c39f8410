"""k8s/components/monitoring: measures that exist, alerts that fire when they should, and only then.

Alerts are tried by promtool (``make tools``) on series of alert-tests.yaml. That every measure they
look at exists is asked of real servers, which are made to show all that they can.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.rpc import code_pb2
from prometheus_client.parser import text_string_to_metric_families

from support.crds import problems
from support.servers import running, server_process
from tamis.v1 import (
    admin_service_pb2,
    catalog_service_pb2,
    event_service_pb2,
    item_pb2,
    recommend_service_pb2,
)
from tamis_client import AsyncTamisClient
from tamis_pipeline.bundle import write_bundle
from tamis_pipeline.synthetic import random_parts
from tamis_server.domain.candidates import DegradationLevel

ROOT = Path(__file__).resolve().parents[2]
COMPONENT = ROOT / "k8s/components/monitoring"
DOCS = "docs/monitoring.md"
SHOP = ROOT / "pipeline/tamis_pipeline/shop/bundle"
EXPOSED = {"listen": "127.0.0.1:0"}
# what the Prometheus operator says of each pod; a measure's own label of that name is renamed
TARGET = {"namespace", "pod", "container", "job", "instance", "endpoint"}

# Not on the page of a server that has been asked once, all well and nothing set. All others are.
SOMETIMES = {
    "tamis_degradations_total": "begins with the first cause",
    "tamis_encoded_total": "of a bundle with CLIP",
    "tamis_event_log_dropped_total": "begins with the first loss",
    "tamis_ranker_breaker_openings_total": "where Triton ranks",
    "tamis_ranker_endpoint_open": "where Triton ranks",
    "tamis_ranker_hedges_total": "where Triton ranks",
    "tamis_variant_answers_total": "while an experiment runs",
    "tamis_worker_deaths_total": "of the minder of several workers",
    "tamis_workers": "of the minder of several workers",
    "tamis_workers_silent": "of the minder of several workers",
}

SERVICES = (admin_service_pb2, catalog_service_pb2, event_service_pb2, recommend_service_pb2)
METHODS = {
    f"/{service.full_name}/{method.name}"
    for module in SERVICES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# by label: what it may be, whether or not it was at hand when the servers were asked
VALUES = {
    "code": set(code_pb2.Code.keys()),
    "job": {"tamis"},
    "level": {level.name.lower() for level in DegradationLevel},
    "method": METHODS,
    "outcome": {"ok", "error", "timeout"},  # docs/operations.md
}

Labels = dict[str, set[str]]
Page = dict[str, Labels]


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPONENT / name).read_text())
    return loaded


RULES = [
    rule
    for group in document("prometheus-rule.yaml")["spec"]["groups"]
    for rule in group["rules"]
]  # fmt: skip
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((COMPONENT / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
EXPRESSIONS = {**{name: rule["expr"] for name, rule in ALERTS.items()}, **RECORDED, **SHOWN}

_TOKEN = re.compile(
    r"""\b(?:by|on|without|ignoring|group_left|group_right)\s*\((?P<grouping>[^)]*)\)
    | \[[^]]*\]                                    # a range
    | \b[a-z_0-9]+\s*\(                            # a function
    | (?P<name>[a-zA-Z_:][\w:]*)\s*(?:\{(?P<matchers>(?:[^}"]|"[^"]*")*)\})?
    | [0-9.]+[a-z]*""",
    re.VERBOSE,
)
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_WORDS = {"sum", "max", "min", "avg", "count", "group", "and", "or", "unless", "offset"}


@dataclass(frozen=True)
class Selector:
    """A measure that an expression looks at; matchers: label, operator and value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expression: str) -> Iterator[Selector]:
    for token in _TOKEN.finditer(expression):
        if token["name"] and token["name"] not in _WORDS:
            yield Selector(token["name"], tuple(_MATCHER.findall(token["matchers"] or "")))


def grouped_by(expression: str) -> set[str]:
    found = [token["grouping"] or "" for token in _TOKEN.finditer(expression)]
    return {label for each in found for label in re.findall(r"\w+", each)}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fetched(port: int | None) -> Page:
    """By sample: its labels, each with its values."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    page: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = page.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return page


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Of one process that has been asked for something, all well."""
    bundle = tmp_path_factory.mktemp("plain") / "bundle"
    write_bundle(random_parts(items=300, users=30), bundle)

    async def ask() -> Page:
        async with (
            running(bundle, {"metrics": EXPOSED}) as server,
            AsyncTamisClient(server.target, timeout_s=30.0) as client,
        ):
            await client.record_events([event("a", "item-1")])
            await client.recommend(user_id="a")
            return await asyncio.to_thread(fetched, server.application.metrics_port)

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Of one process with all that may be set, whose Triton is gone and whose event log is full."""
    pytest.importorskip("tritonclient", reason="measures of Triton's breakers are not looked for")
    far = {"name": "far", "url": "triton://127.0.0.1:1/deepfm", "share": 0.5}
    sections: Mapping[str, Mapping[str, object]] = {
        "metrics": EXPOSED,
        "ranking": {"experiment": {"name": "rankers", "variants": [far]}},
        "events": {"log_dir": tmp_path_factory.mktemp("log"), "log_max_pending": 1},
    }

    async def ask() -> Page:
        async with (
            running(SHOP, sections) as server,
            AsyncTamisClient(server.target, timeout_s=30.0) as client,
        ):
            for number in range(10):  # of both variants
                await client.recommend(user_id=f"user-{number}")
            await client.search(text="blue shirt")
            await client.record_events([event("a", f"item-{number}") for number in range(3)])
            return await asyncio.to_thread(fetched, server.application.metrics_port)

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def several() -> Page:
    """Of two workers and who minds them."""
    port = free_port()
    with server_process(SHOP, "--workers", "2", "--set", f"metrics.listen=127.0.0.1:{port}"):
        return fetched(port)


@pytest.fixture(scope="module")
def exported(plain: Page, troubled: Page, several: Page) -> Page:
    """All that servers can say, and what rules make of it."""
    everything: Page = {"up": {}}
    for page in (plain, troubled, several):
        for name, labels in page.items():
            for label, values in labels.items():
                everything.setdefault(name, {}).setdefault(label, set()).update(values)
            everything.setdefault(name, {})
    for name in RECORDED:
        everything[name] = {label: set() for label in kept(name)}
    return everything


def kept(name: str) -> list[str]:
    """The labels of a recorded measure, as its name has them; their values are in VALUES."""
    return name.partition(":")[0].split("_")


def event(user: str, item: str) -> item_pb2.Event:
    kind = item_pb2.EVENT_KIND_VIEW
    return item_pb2.Event(event_id=f"{user}-{item}", user_id=user, item_id=item, kind=kind)


def alternatives(pattern: str) -> list[str]:
    """A pattern's, as our own are written: a(b|c)d, or b|c."""
    inner = re.fullmatch(r"([^(]*)\(([^)]*)\)(.*)", pattern)
    if inner is None:
        return pattern.split("|")
    return [f"{inner[1]}{each}{inner[3]}" for each in inner[2].split("|")]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_measure_of_an_expression_is_exported_by_a_server(name: str, exported: Page) -> None:
    found = list(selectors(EXPRESSIONS[name]))
    assert found
    for selector in found:
        assert selector.name in exported


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_label_of_an_expression_is_one_that_the_measure_has(
    name: str, exported: Page
) -> None:
    there = {"worker", *TARGET} - {"endpoint"}  # dropped, as is tested below
    for selector in selectors(EXPRESSIONS[name]):
        labels = {label for label, _, _ in selector.matchers}
        assert labels <= there | set(exported[selector.name])
    of_all = [set(exported[selector.name]) for selector in selectors(EXPRESSIONS[name])]
    assert grouped_by(EXPRESSIONS[name]) <= there.union(*of_all)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_value_that_is_asked_for_is_one_that_the_label_can_have(
    name: str, exported: Page
) -> None:
    for selector in selectors(EXPRESSIONS[name]):
        for label, operator, value in selector.matchers:
            if value == "$namespace":
                continue
            known = VALUES.get(label) or exported[selector.name][label]
            wanted = alternatives(value) if "~" in operator else [re.escape(value)]
            for each in wanted:
                assert any(re.fullmatch(each, one) for one in known), f"{label}: {each}"


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_name_begins_with_the_labels_it_keeps(name: str) -> None:
    outermost = re.search(r"\bby \(([^)]*)\)", RECORDED[name])
    assert outermost is not None
    assert kept(name) == [label for label in outermost[1].split(", ") if label != "le"]


def test_what_is_there_in_some_setups_only_is_known_with_the_reason(
    plain: Page, exported: Page
) -> None:
    used = {one.name for each in EXPRESSIONS.values() for one in selectors(each)}
    measured = {name for name in used if name.startswith("tamis_")}
    assert measured - set(plain) == set(SOMETIMES)
    assert set(SOMETIMES) <= set(exported)


def test_every_measure_that_a_server_has_is_looked_at(exported: Page) -> None:
    """Or it would be exported for nobody. Of a histogram any of its series will do."""
    part = re.compile(r"_(bucket|count|sum)$")
    used = {part.sub("", one.name) for each in EXPRESSIONS.values() for one in selectors(each)}
    assert {part.sub("", name) for name in exported if name.startswith("tamis_")} <= used


def test_samples_are_labelled_with_their_worker_where_there_are_several(
    plain: Page, several: Page
) -> None:
    assert all("worker" in labels for labels in several.values())
    assert not any("worker" in labels for labels in plain.values())
    minders = {name for name, labels in several.items() if "0" in labels["worker"]}
    assert minders == {"tamis_workers", "tamis_workers_silent", "tamis_worker_deaths_total"}


def test_no_label_of_ours_is_taken_by_the_target_s(exported: Page) -> None:
    """Prometheus would rename it to exported_…, and rules would look at the target's."""
    [endpoint] = document("pod-monitor.yaml")["spec"]["podMetricsEndpoints"]
    dropped = {each["regex"] for each in endpoint["relabelings"] if each["action"] == "labeldrop"}
    ours = {label for name in exported if ":" not in name for label in exported[name]}
    assert ours & TARGET == dropped


def test_the_custom_resources_are_what_the_operator_defines() -> None:
    assert problems(document("pod-monitor.yaml")) == []
    assert problems(document("prometheus-rule.yaml")) == []


def test_pods_are_found_by_name_and_their_job_is_the_one_that_rules_ask_for() -> None:
    spec = document("pod-monitor.yaml")["spec"]
    selected = spec["selector"]["matchLabels"]
    assert selected == {"app.kubernetes.io/name": "tamis"}
    assert {selected[spec["jobLabel"]]} == VALUES["job"]
    [endpoint] = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    policy = document("network-policy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == selected
    assert policy["ingress"][0]["ports"] == [{"port": endpoint["port"]}]


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do_and_the_docs_do_too(name: str) -> None:
    severity, said = ALERTS[name]["labels"]["severity"], ALERTS[name]["annotations"]
    assert severity in {"critical", "warning", "info"}
    assert said["summary"]
    assert said["description"].endswith(".")
    text = (ROOT / DOCS).read_text()
    headings = [slug(found) for found in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    page, _, anchor = said["runbook_url"].partition("#")
    assert page == DOCS
    assert headings.count(anchor) == 1
    assert f"| [{name}](#{anchor}) | {severity} |" in text


def test_the_docs_tell_of_no_alert_that_is_not_there() -> None:
    told = re.findall(r"^#+ (Tamis\w+)$", (ROOT / DOCS).read_text(), re.MULTILINE)
    assert sorted(told) == sorted(ALERTS)


# promtool


def promtool(*arguments: str, at: Path) -> str:
    """What it says of files in a directory; fails where it objects, skips where it is missing."""
    installed = shutil.which("promtool", path=f"{os.environ['PATH']}:{ROOT / '.tools/bin'}")
    if installed is None:
        pytest.skip("promtool is not there: rules and dashboard were not tried (make tools)")
    done = subprocess.run(
        [installed, *arguments], cwd=at, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_what_prometheus_understands(tmp_path: Path) -> None:
    spec = document("prometheus-rule.yaml")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", at=tmp_path)
    assert f"{len(RULES)} rules found" in said


def test_queries_of_the_dashboard_are_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(SHOWN.values())
    ]
    spec = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    assert f"{len(SHOWN)} rules found" in promtool("check", "rules", "rules.yaml", at=tmp_path)


CASES = {
    path.name: yaml.safe_load(path.read_text()) for path in COMPONENT.glob("alert-tests*.yaml")
}


@pytest.mark.parametrize("name", CASES)
def test_alerts_fire_when_they_should_and_not_otherwise(name: str, tmp_path: Path) -> None:
    spec = document("prometheus-rule.yaml")["spec"]
    for group in spec["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:  # figures stand in the summary; the rest would be said twice
                rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    (tmp_path / name).write_text((COMPONENT / name).read_text())
    assert "SUCCESS" in promtool("test", "rules", name, at=tmp_path)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tried_where_it_fires_and_where_it_does_not(name: str) -> None:
    tries = [
        bool(each["exp_alerts"])
        for case in CASES.values()
        for test in case["tests"]
        for each in test["alert_rule_test"]
        if each["alertname"] == name
    ]
    assert set(tries) == {True, False}


# the component in an overlay


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By kind: what an overlay of the component alone makes of it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not there: the monitoring component was not rendered")
    overlay = tmp_path_factory.mktemp("overlay").resolve()
    component = os.path.relpath(COMPONENT, overlay)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "shop",
        "components": [component],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    done = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns"
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def test_everything_is_in_the_namespace_of_the_overlay(
    rendered: dict[str, dict[str, Any]],
) -> None:
    assert set(rendered) == {"ConfigMap", "NetworkPolicy", "PodMonitor", "PrometheusRule"}
    assert {each["metadata"]["namespace"] for each in rendered.values()} == {"shop"}
    for kind in ("PodMonitor", "PrometheusRule"):
        assert problems(rendered[kind]) == []


def test_grafana_finds_the_dashboard_by_its_label_and_a_name_that_stays(
    rendered: dict[str, dict[str, Any]],
) -> None:
    found = rendered["ConfigMap"]
    assert found["metadata"]["name"] == "tamis-dashboard"
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["tamis.json"]) == DASHBOARD


# the dashboard


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in everything], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{one} and {other}"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_and_whence(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"] in {
        "s", "short", "percentunit", "ops", "reqps",
    }  # fmt: skip
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        assert "$namespace" in target["expr"]
        recorded = [kept(each.name) for each in selectors(target["expr"]) if each.name in RECORDED]
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= grouped_by(target["expr"]).union(*recorded)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_the_unit_of_a_panel_is_that_of_its_measures(panel: dict[str, Any]) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        expr = target["expr"]
        names = {selector.name for selector in selectors(expr)}
        seconds = any(re.search(r"_seconds(_bucket|_sum|:|$)", name) for name in names)
        assert (unit == "s") == seconds, "seconds are seconds, and nothing else is"
        if not seconds:
            per_second = expr.startswith("sum by") and "rate(" in expr and " / " not in expr
            assert (unit in {"ops", "reqps"}) == (per_second or expr.startswith("sum (rate("))


def test_the_dashboard_s_variables_are_the_source_and_the_namespace() -> None:
    source, namespace = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"]) == ("datasource", "datasource")
    assert (namespace["name"], namespace["type"]) == ("namespace", "query")
    assert namespace["query"]["query"] == "label_values(tamis_build_info, namespace)"
