import json

import numpy as np
import pytest
import torch
from act.models.preprocessing import Preprocessing
from act.models.registry import ModelSpec, create_model, default_arguments
from act.models.weights import load_into, load_weights, save_weights
from act.toolchain.capture import capture
from act.toolchain.compaction import compact
from act.toolchain.coupling import find_coupling
from act.toolchain.plan import (
    PlanError,
    PruningPlan,
    load_plan,
    normalize_plan,
    plan_from_dict,
    plan_to_dict,
    save_plan,
)

PREPROCESSING = Preprocessing(height=16, width=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), class_names=("a", "b"))
SPEC = ModelSpec(name="resnet20", arguments=default_arguments("resnet20", num_classes=10, image_shape=(3, 16, 16)))
PLAN = PruningPlan(
    keep_filters={"layer1.0.conv1": np.array([0, 3], np.int32)}, keep_columns={"conv1": np.array([1, 8], np.int32)}
)


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "pruning_plan.json"
    save_plan(path, PLAN, spec=SPEC, input_shape=(3, 16, 16), preprocessing=PREPROCESSING, extra={"round": 2})
    return path


def test_what_is_saved_is_loaded(plan_file):
    saved = load_plan(plan_file)
    assert saved.plan == PLAN
    assert saved.plan.keep_columns["conv1"].dtype == np.int32
    assert saved.spec == SPEC
    assert saved.input_shape == (3, 16, 16)
    assert saved.preprocessing == PREPROCESSING
    assert saved.extra == {"round": 2}
    assert [path.name for path in plan_file.parent.iterdir()] == ["pruning_plan.json"]


def test_plan_and_weights_rebuild_the_compact_network(tmp_path, model_of, random_plan, images_for):
    model, shape = model_of("resnet20")
    network = capture(model, shape)
    coupling = find_coupling(network)
    plan = normalize_plan(coupling, random_plan(coupling, np.random.default_rng(7), "combined"))
    small = compact(network, coupling, plan)
    save_plan(tmp_path / "p.json", plan, spec=SPEC, input_shape=shape, preprocessing=PREPROCESSING)
    save_weights(tmp_path / "w.safetensors", small.module.state_dict(), metadata={})
    saved = load_plan(tmp_path / "p.json")
    dense = capture(create_model(saved.spec.name, **saved.spec.arguments), saved.input_shape)
    rebuilt = compact(dense, find_coupling(dense), saved.plan)
    load_into(rebuilt.module, load_weights(tmp_path / "w.safetensors"))
    x = images_for(small)
    with torch.no_grad():
        assert torch.equal(rebuilt.module.eval()(x), small.module.eval()(x))


def test_plan_to_dict_and_back():
    record = json.loads(json.dumps(plan_to_dict(PLAN)))
    assert plan_from_dict(record) == PLAN


def damage(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema_version=2), "schema_version is 2"),
        (lambda r: r.pop("schema_version"), "schema_version is None"),
        (lambda r: r.update(keep_filter={}), "did you mean 'keep_filters'"),
        (lambda r: r.pop("keep_columns"), "lacks keep_columns"),
        (lambda r: r["keep_columns"].update(conv1=[8, 1]), "sorted"),
        (lambda r: r["keep_columns"].update(conv1=[1, 1]), "without repetition"),
        (lambda r: r["keep_columns"].update(conv1=[]), "at least one"),
        (lambda r: r["keep_columns"].update(conv1=[1.0]), "whole number"),
        (lambda r: r["keep_columns"].update(conv1=[True]), "whole number"),
        (lambda r: r["keep_columns"].update(conv1="12"), "whole number"),
        (lambda r: r["keep_columns"].update(conv1=[-1]), "0..2147483647"),
        (lambda r: r["keep_columns"].update(conv1=[2**40]), "0..2147483647"),
        (lambda r: r.update(keep_filters=[]), "JSON object"),
        (lambda r: r.update(input_shape=[3, 0, 16]), "input_shape"),
        (lambda r: r.update(input_shape=3), "input_shape"),
        (lambda r: r.update(network="resnet20"), "network must be a JSON object"),
        (lambda r: r["network"].update(path="x"), "path"),
        (lambda r: r.update(preprocessing=None), "preprocessing must be a JSON object"),
        (lambda r: r["preprocessing"].pop("mean"), "mean"),
    ],
)
def test_damaged_files_are_refused(plan_file, change, message):
    damage(plan_file, change)
    with pytest.raises(PlanError, match=message) as error:
        load_plan(plan_file)
    assert plan_file.name in str(error.value)


def test_missing_and_cut_files_are_refused(tmp_path, plan_file):
    with pytest.raises(PlanError, match="No such file"):
        load_plan(tmp_path / "nothing.json")
    plan_file.write_bytes(plan_file.read_bytes()[:100])
    with pytest.raises(PlanError, match="cut short"):
        load_plan(plan_file)
    plan_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="no JSON"):
        load_plan(plan_file)


def test_code_is_named_by_a_flag_only(plan_file):
    damage(plan_file, lambda record: record["network"].update(name="os:system"))
    with pytest.raises(PlanError, match=r"'os:system', which is never run from a file"):
        load_plan(plan_file)
    with pytest.raises(PlanError, match="never run"):
        load_plan(plan_file, code_from_flag="my.net:make")
    assert load_plan(plan_file, code_from_flag="os:system").spec.name == "os:system"


def test_an_existing_file_survives_a_failed_write(plan_file):
    before = plan_file.read_bytes()
    with pytest.raises(TypeError):
        save_plan(
            plan_file, PLAN, spec=SPEC, input_shape=(3, 16, 16), preprocessing=PREPROCESSING, extra={"x": object()}
        )
    assert plan_file.read_bytes() == before
    assert len(list(plan_file.parent.iterdir())) == 1
