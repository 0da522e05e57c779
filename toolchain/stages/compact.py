"""The compaction stage: a network that is physically smaller, checked against the masked one."""

import copy
from dataclasses import replace

from ..capture import CapturedNetwork
from ..compaction import compact
from ..coupling import find_coupling
from ..equality_chain import MASKED_TOLERANCE, EqualityCheck, compare_modules, probe_inputs
from ..evaluation import recalibrate_batch_norm
from ..keep_indices import PruningPlan, compose_plans, normalize_plan
from ..masking import make_masks
from ..plan import plan_from_dict, plan_to_dict
from ..workbench import State, Workbench


def compact_stage(
    bench: Workbench, stage: str, state: State, trained: CapturedNetwork, plan: PruningPlan
) -> tuple[State, EqualityCheck]:
    """Make the pruned network physically smaller and check that it equals the masked one."""
    done = bench.result(stage)
    if done is not None:
        composed = plan_from_dict(done["plan"])
        return State.load(bench, stage, composed), EqualityCheck.from_dict(done["equality"])
    coupling = find_coupling(trained)
    plan = normalize_plan(coupling, plan)
    masked = copy.deepcopy(trained.module)
    make_masks(trained, coupling, plan).apply_(masked)
    recalibrate_batch_norm(masked.to(bench.device), bench.train_part, images=bench.config.search.recalibration_images)
    pruned = compact(replace(trained, module=masked.cpu()), coupling, plan)
    composed = compose_plans(bench.dense_coupling, state.plan, plan)
    inputs = probe_inputs(trained.input_shape, next(bench.search_part.in_order(16))[0])
    pair = f"masked = compact, {stage.removesuffix(' compact')}"
    check = compare_modules(pair, pruned.module, masked, inputs, tolerance=MASKED_TOLERANCE)
    State(network=pruned, plan=composed).save(bench, stage)
    bench.folder.finish(stage, {"plan": plan_to_dict(composed), "equality": check.to_dict()})
    return State.load(bench, stage, composed), check
