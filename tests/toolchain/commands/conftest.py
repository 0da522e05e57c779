from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_adb(monkeypatch):
    """Keep the user's adb server out of it, and do not start one."""
    monkeypatch.setenv("ACT_ADB", "/missing/adb")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """The folder of a run that removed filters and columns of a LeNet-5 on digits: enough for the commands to open."""
    from act.models.data import load_data
    from act.models.registry import ModelSpec, create_model, default_arguments
    from act.toolchain.capture import capture
    from act.toolchain.compaction import compact
    from act.toolchain.config import CompressConfig
    from act.toolchain.config_file import to_toml
    from act.toolchain.coupling import find_coupling
    from act.toolchain.loading import save_network
    from act.toolchain.plan import PruningPlan, save_plan

    folder = tmp_path_factory.mktemp("runs") / "digits-lenet5"
    folder.mkdir()
    data = load_data("digits")
    arguments = default_arguments("lenet5", num_classes=10, image_shape=data.image_shape)
    spec = ModelSpec(name="lenet5", arguments=arguments)
    dense = capture(create_model(spec.name, **spec.arguments).eval(), data.image_shape)
    coupling = find_coupling(dense)
    group = coupling.prunable[0]
    column_layer = coupling.column_layers[-1]
    plan = PruningPlan(
        keep_filters={group.name: np.arange(0, group.size, 2, dtype=np.int32)},
        keep_columns={column_layer: np.arange(0, 20, dtype=np.int32)},
    )
    save_plan(
        folder / "pruning_plan.json",
        plan,
        spec=spec,
        input_shape=data.image_shape,
        preprocessing=data.preprocessing,
    )
    save_network(folder / "weights.safetensors", compact(dense, coupling, plan))
    config = CompressConfig.model_validate({"network": {"model": "lenet5"}, "seed": 3})
    (folder / "config.toml").write_text(to_toml(config))
    return folder
