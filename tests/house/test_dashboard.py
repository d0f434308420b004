"""The Grafana dashboard and the reference of metrics name only what there is, and the reference all of it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cortex.fleet.state import Device, Fleet, Host
from cortex.gateway.metrics import Metrics
from cortex.neuron.figures import EngineFigures, Figures
from cortex.neuron.metrics import Metrics as HostMetrics
from cortex.protocol import DeviceHealth, ModelLoad
from tests.fakes.engine import NO_TIMINGS, Stats
from tests.house.source_files import ROOT

DASHBOARD = ROOT / "docs" / "grafana" / "cortex.json"
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"
METRIC = re.compile(r"\b(?:cortex|neuron)_[a-z_]+\b")
HISTOGRAM = ("_bucket", "_sum", "_count")


def families(registry: CollectorRegistry) -> set[str]:
    """The names of all samples that the registry can give."""
    names: set[str] = set()
    for family in registry.collect():
        if family.type == "histogram":
            names |= {family.name + suffix for suffix in HISTOGRAM}
        names.add(family.name + "_total" if family.type == "counter" else family.name)
    return names


@pytest.fixture(scope="module")
def known() -> set[str]:
    device = Device(index=0, total_bytes=1, free_bytes=1)
    fleet = Fleet(hosts={"a": Host(name="a", endpoint="http://a", devices=(device,))})
    host = HostMetrics()
    figures = DeviceHealth(index=0, vram_used_mb=1, vram_free_mb=1, utilization_pct=1, temp_c=1)
    engine = EngineFigures(numbers=Stats().counters(), timings=NO_TIMINGS)
    host.figures = Figures(devices=(figures,), models=(ModelLoad(id="m"),), engines={"m": engine})
    return families(Metrics(lambda: fleet).registry) | families(host.registry)


def panels() -> Iterator[dict[str, Any]]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] != "row":
            yield panel


@pytest.mark.parametrize("panel", list(panels()), ids=lambda panel: panel["title"])
def test_every_panel_shows_a_metric_that_exists(panel: dict[str, Any], known: set[str]) -> None:
    for target in panel["targets"]:
        named = set(METRIC.findall(target["expr"]))
        assert named, target["expr"]
        assert named <= known, f"unknown: {sorted(named - known)}"
        if "histogram_quantile" in target["expr"]:
            assert all(name.endswith("_bucket") for name in named)
            assert "le" in target["expr"]


def test_panels_have_their_own_ids_and_do_not_overlap() -> None:
    shown = list(panels())
    assert len({panel["id"] for panel in shown}) == len(shown) > 20
    cells: set[tuple[int, int]] = set()
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        wide, high = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        own = {(x, y) for x in wide for y in high}
        assert not own & cells, panel["title"]
        cells |= own


def test_the_reference_has_every_metric_and_no_other(known: set[str]) -> None:
    told = set(re.findall(r"`((?:cortex|neuron)_[a-z_]+)`", REFERENCE.read_text()))
    bases = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in known}
    assert told <= bases | known
    own = {name for name in known if not name.endswith(HISTOGRAM)}
    assert own <= told
