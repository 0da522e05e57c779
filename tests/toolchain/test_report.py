import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from act.toolchain.report import ReportError, print_summary, read_report, write_report
from act.toolchain.report_charts import Axis, Point, histogram, pareto_front, scatter
from act.toolchain.report_schema import parse_report
from act.toolchain.report_values import comparison_rows

_VOID = {"meta"}


def _example():
    spec = importlib.util.spec_from_file_location("report_example", Path(__file__).parent / "report_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.example_report()


@pytest.fixture
def report():
    return _example()


class _Page(HTMLParser):
    """Collects tags and text, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _hostile(value, text):
    """`value` with every text in it, and every key of an open mapping, replaced."""
    if isinstance(value, dict):
        return {key: _hostile(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item, text) for item in value]
    return text if isinstance(value, str) else value


def test_page_is_one_well_formed_file_that_fetches_nothing(report, tmp_path):
    page = write_report(tmp_path, report)
    assert page == tmp_path / "report.html"
    text = page.read_text()
    tags = _Page(text).tags
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert not any({"src", "href", "onclick", "onload"} & set(attrs) for _, attrs in tags)
    assert "http" not in text and "url(" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.json"}


def test_page_says_everything(report, tmp_path):
    text = "\n".join(_Page(write_report(tmp_path, report).read_text()).text)
    for wanted in (
        "resnet20 on digits",
        "Constraint met",
        "98.22 %",
        "24.2 k",
        "latency, modelled, adreno640, batch 1, fp32",
        "latency, measured, opencl:0, batch 1, fp32",
        "layer3.2.conv2",
        "column conv",
        "p90",
        "masked = compact",
        "Predicted and measured",
        "-9.9 %",
        "build failure: a kernel is too large",
        "conv, 16 to 13 channels, 44 columns, 8 × 8 outputs",
        "its outputs are the network's output",
        "act compress --target adreno640",
        "fine-tuned for 2 epochs",
    ):
        assert wanted in text, wanted


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>", "a & b </title>"]
)
def test_every_text_is_escaped(report, tmp_path, hostile):
    values = _hostile(report, hostile) | {"objective": "latency"}
    for section in ("environment", "files"):
        values[section] = {hostile: hostile}
    values["constraint"]["asked"] = {hostile: 1.0}
    for figures in (values["baseline"], values["result"]):
        for entry, kind in zip(figures["latency"], ("modelled", "measured"), strict=True):
            entry["kind"] = kind
    page = _Page(write_report(tmp_path, values).read_text())
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert hostile in "".join(page.text)


def test_json_is_what_was_given(report, tmp_path):
    write_report(tmp_path, report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert read_report(tmp_path) == report


def test_nan_becomes_null(report, tmp_path):
    report["equality"][0]["difference"] = float("nan")
    write_report(tmp_path, report)
    assert read_report(tmp_path)["equality"][0]["difference"] is None


def test_least_report(tmp_path):
    least = {"schema_version": 1, "baseline": {}, "result": {}}
    _Page(write_report(tmp_path, least).read_text())


def test_missing_measured_latency_and_kernel_times(report, tmp_path):
    for figures in (report["baseline"], report["result"]):
        figures["latency"] = figures["latency"][:1]
    for kernel in report["kernels"]:
        kernel["measured_us"] = None
    text = write_report(tmp_path, report).read_text()
    assert "Measured latency" not in text and "measured on" not in text


def test_a_disturbed_measurement_says_so(report, tmp_path, capsys):
    assert "disturbed" not in write_report(tmp_path, report).read_text()
    report["result"]["latency"][1]["flags"] = {"noisy": "others kept 1.5 processors busy", "short": "<3 s>"}
    assert (
        "disturbed: noisy: others kept 1.5 processors busy; short: &lt;3 s&gt;"
        in write_report(tmp_path, report).read_text()
    )
    print_summary(report)
    told = (
        "latency measured, opencl:0, batch 1, fp32 was disturbed: noisy: others kept 1.5 processors busy; short: <3 s>"
    )
    assert told in capsys.readouterr().out


def test_missed_constraint(report, tmp_path, capsys):
    report["constraint"] = {"asked": {"macs_x": 8.0}, "reached": {"macs_x": 6.29}, "met": False}
    assert "Constraint not met" in write_report(tmp_path, report).read_text()
    print_summary(report)
    out = capsys.readouterr().out
    assert "constraint NOT met" in out
    assert "MACs: 8× fewer asked, 6.29× reached" in out


def test_broken_equality_is_loud(report, tmp_path, capsys):
    report["equality"][1].update(passed=False, difference=0.2)
    assert "differs" in write_report(tmp_path, report).read_text()
    print_summary(report)
    assert "NOT equal: compact = onnxruntime" in capsys.readouterr().out


def test_latencies_of_different_devices_give_no_ratio(report):
    report["baseline"]["latency"][1]["device"] = "opencl:1"
    rows = {row.name: row for row in comparison_rows(parse_report(report, source="test"))}
    assert rows["latency, measured, opencl:0, batch 1, fp32"].ratio is None
    assert rows["latency, modelled, adreno640, batch 1, fp32"].ratio == pytest.approx(0.912 / 0.254)


def test_summary_is_a_table_on_stdout(report, capsys):
    print_summary(report)
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"parameters +272 k +24.2 k +11.2×", out)
    assert "equality chain holds (largest difference 1.2e-06)" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 7}, "schema version 7"),
        ({"baseline": 3}, "baseline"),
        ({"layers": [{"name": "a"}]}, "layers.0.filters_before"),
    ],
)
def test_damaged_report_is_refused_by_name(report, tmp_path, change, message):
    (tmp_path / "report.json").write_text(json.dumps(report | change))
    with pytest.raises(ReportError, match=re.escape(message)):
        read_report(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_report_that_is_no_report(tmp_path, content):
    (tmp_path / "report.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ReportError, match=r"report\.json"):
        read_report(tmp_path)


def test_folder_without_report(tmp_path):
    with pytest.raises(ReportError, match=r"no report\.json"):
        read_report(tmp_path)


def test_pareto_front():
    points = [Point(cost=c, accuracy=a, label="") for c, a in ((3, 90), (1, 70), (2, 95), (2, 60), (4, 96), (1, 65))]
    assert [(point.cost, point.accuracy) for point in pareto_front(points)] == [(1, 70), (2, 95), (4, 96)]


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.9), (3, 3.02), (1e5, 4e8), (97.1, 98.6)])
def test_ticks_are_few_and_on_the_axis(low, high, logarithmic):
    ticks = Axis(low=low, high=high, start=0, end=100, logarithmic=logarithmic).ticks()
    assert 2 <= len(ticks) <= 16
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)


def test_charts_take_one_value_and_equal_values():
    same = [Point(cost=1.0, accuracy=90.0, label="x")] * 3
    assert "<svg" in scatter(same, [], None, None, cost_name="ms")
    assert "<svg" in histogram([1.0] * 50, 1.0, 1.0)
    assert histogram([], None, None) == ""


def test_result_lies_at_the_last_accepted_round_and_costs_win(report):
    parsed = parse_report(report, source="test")
    assert parsed.result_cost() == 0.254
    report["baseline"]["costs"] = {"latency": 0.8}
    report["result"]["costs"] = {"latency": 0.2}
    parsed = parse_report(report, source="test")
    assert (parsed.baseline_cost(), parsed.result_cost()) == (0.8, 0.2)


def test_slow_outliers_do_not_flatten_the_histogram():
    samples = [1 + 0.001 * index for index in range(100)] + [50.0, 80.0]
    chart = histogram(samples, 1.05, 1.09)
    assert "2 runs from" in chart or "3 runs from" in chart
    assert ">50<" not in chart


def test_a_recorded_front_is_marked_and_joined(report, tmp_path):
    without = write_report(tmp_path, report).read_text()
    assert 'class="on-front"' not in without
    points = [(0.2, 91.0), (0.3, 95.0), (0.4, 97.5)]
    report["pareto"] = [{"round": "round 2 search", "accuracy": accuracy, "cost": cost} for cost, accuracy in points]
    text = write_report(tmp_path, report).read_text()
    assert text.count('class="on-front"') == len(points)
    assert "round 2, on the front: 97.50 %" in text
    assert 'class="front"' in text
    assert read_report(tmp_path)["pareto"] == report["pareto"]
