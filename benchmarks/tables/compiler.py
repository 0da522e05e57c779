"""Tables of the compiler: what it takes, what it costs, how fast its kernels are."""

import statistics

from act.device.precision import TOLERANCES

from .layout import RESULTS, hardware, read, result, section


def compiled() -> str:
    """Which networks compile and match, by `compile_networks.py`."""
    found = result("compile_networks.json")
    if found is None:
        return ""
    rows = []
    for row in found["networks"]:
        cells = [row["network"], str(row.get("size", ""))]
        for target in found["targets"]:
            outcome = row.get("targets", {}).get(target, {"error": row.get("error", "not run")})
            if "error" in outcome:
                cells.append(outcome["error"][:120])
                continue
            difference = outcome.get("difference")
            verdict = "not run" if difference is None else f"{difference:.0e}"
            verdict += (
                " DIFFERS"
                if difference is not None and difference > TOLERANCES[target.partition(":")[2] or "fp32"]
                else ""
            )
            cells.append(f"{verdict}, {outcome['steps']} kernels")
        rows.append(cells)
    allowed = ", ".join(f"{limit:g} in {precision}" for precision, limit in TOLERANCES.items())
    note = (
        "Random weights, exported, compiled and run on a local OpenCL device: the difference to onnxruntime on the "
        f"exported file, relative to the largest output (allowed {allowed}), and kernels. "
        f"{hardware(found)}."
    )
    headings = ("network", "pixels", *found["targets"])
    return section("What compiles", note, headings, rows)


def compile_cost() -> str:
    """Seconds, memory and arenas, by `compile_cost.py`."""
    found = result("compile_cost.json")
    if found is None:
        return ""
    rows = []
    for row in found["rows"]:
        begin = (row["network"], row["target"], row["precision"])
        if "problem" in row:
            rows.append((*begin, row["problem"][:80], "", "", "", ""))
            continue
        sizes = (f"{row['peak_memory_mb']:.0f}", f"{row['arena_bytes'] / 1e6:.2f}", f"{row['arena_ratio']:.2f}×")
        rows.append((*begin, f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", *sizes))
    note = (
        "One process for each compilation, imports and verification pair included. The arena is compared with the "
        f"largest sum of tensors alive in one step, halos included, weights apart; {found['threads']} cores allowed; "
        f"{hardware(found)}."
    )
    headings = ("network", "target", "precision", "seconds", "CPU seconds", "peak MB", "arena MB", "arena over live")
    return section("What compiling costs", note, headings, rows)


def shares() -> str:
    """Speed from fewer MACs, by `realised_share.py`."""
    sections = []
    for path in sorted(RESULTS.glob("realised_share_*.json")):
        found = read(path)
        rows = [
            (
                row["network"],
                row["kind"],
                f"{row['macs_x']:.2f}×",
                f"{row['dense_ms']:.1f}",
                f"{row['compact_ms']:.1f}",
                f"{row['speed_x']:.2f}×",
                f"{row['share']:.2f}",
                f"{row['kernels_share']:.2f}",
                f"{row['asked']:.2f}",
                f"{row['paper']:.2f}" if row["paper"] else "–",
                f"{row['onnxruntime_dense_ms']:.1f} → {row['onnxruntime_compact_ms']:.1f}",
            )
            for row in found["rows"]
        ]
        note = (
            f"{found['device']['id']}, {found['device']['name']}; {hardware(found)}. The share is the ratio of speed "
            "over that of MACs, dense and compact by turns, of whole inferences and of the kernels alone; the paper's "
            "are of an Adreno 640. onnxruntime runs the same two files on all cores of the processor."
        )
        headings = (
            "network",
            "plan",
            "MACs",
            "dense ms",
            "compact ms",
            "faster",
            "share",
            "of kernels",
            "asked",
            "paper",
            "onnxruntime ms",
        )
        sections.append(section(f"Speed from fewer MACs, {found['device']['id']}", note, headings, rows))
    return "\n\n".join(sections)


def ncnn() -> str:
    """Beside ncnn on one Vulkan device, by `against_ncnn.py`."""
    found = result("against_ncnn.json")
    if found is None:
        return ""
    rows = [
        (
            row["network"],
            *(f"{row[f'{kind}_ms']:.0f}" for kind in ("ncnn", "dense", "compact")),
            *(f"{row[f'{kind}_x']:.2f}×" for kind in ("dense", "compact")),
        )
        for row in found["rows"]
    ]
    note = f"Milliseconds on one Vulkan device, fp32, 224 pixels; compact is `{found['plan']}`; {hardware(found)}."
    headings = ("network", "ncnn", "act, dense", "act, compact", "dense, as fast as ncnn", "compact")
    return section("Beside ncnn", note, headings, rows)


def tuning() -> str:
    """Found kernels by method, by `tuning.py` and `metaschedule.py`."""
    sections = []
    for path in sorted(RESULTS.glob("tuning*.json")):
        found = read(path)
        methods = list(found["rows"][0]["methods"])
        rows = [
            (
                row["layer"],
                str(row["candidates"]),
                f"{row['rule_us']:.0f}",
                *(f"{row['methods'][m]['speed_x']:.2f}× of {row['methods'][m]['tried']}" for m in methods),
                row["methods"][methods[0]]["kernel"],
            )
            for row in found["rows"]
        ]
        speeds = {m: [row["methods"][m]["speed_x"] for row in found["rows"]] for m in methods}
        means = (f"**{statistics.geometric_mean(values):.2f}×**" for values in speeds.values())
        rows.append(("geometric mean", "", "", *means, ""))
        device = found["device"]
        note = (
            "Speed of the best kernel found over the rule's, and how many candidates were tried in "
            f"{found['seconds']:g} seconds a layer and method, on {device['id']} ({device['name']}): `act tune`'s "
            "search, random search, and TVM's MetaSchedule, all over the same candidates with the same builder and "
            f"runner; the winners are timed side by side, by turns; {hardware(found)}."
        )
        headings = ("layer", "candidates", "rule, µs", *methods, "kernel that act found")
        sections.append(section(f"Searches for kernels, {device['id']}", note, headings, rows))
    return "\n\n".join(sections)
