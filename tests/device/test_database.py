import dataclasses
import json
import sqlite3
import threading

import pytest
from act.device.database import DatabaseError, LatencyDatabase, default_path, kernel_key
from act.device.harness import LatencyStats
from act.device.package_format import PackageError

OF_VERSION_1 = {
    *("kind", "device", "device_name", "fingerprint", "batch", "precision", "p50", "p90", "mean", "samples_ms"),
    *("burst_p50", "burst_ms", "per_kernel_us", "verified_error", "build_ms", "memory_bytes", "state"),
}


@pytest.fixture
def stats():
    return LatencyStats(
        device="opencl:0",
        device_name="cpu",
        fingerprint="f1",
        backend="opencl",
        batch=1,
        precision="fp32",
        headline="p50",
        p50=1.0,
        p90=2.0,
        mean=1.2,
        minimum=1.0,
        mad=0.5,
        outliers=0,
        samples_ms=(1.0, 2.0),
        burst_p50=0.9,
        burst_ms=(0.9,),
        per_kernel_us=(10.0, 20.0),
        verified_error=1e-7,
        build_ms=3.0,
        memory_bytes=100,
        flags={},
        warmup_runs=10,
        warmup_ms=200.0,
        timed_s=1.0,
        reference="reference-opencl-0",
        reference_ms=(5.0, 5.2),
        drift=1.04,
        other_cores=0.1,
        state={"before": {"load_average": 0.5}},
    )


def test_kernels_are_found_by_content_and_fingerprint(tmp_path):
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        assert database.get_kernel("k", "f1") is None
        database.put_kernel("k", "f1", 12.5)
        database.put_kernel("k", "f1", 13.5)
        assert database.get_kernel("k", "f1") == 13.5
        assert database.get_kernel("k", "f2") is None
        for latency in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="must be finite"):
                database.put_kernel("k", "f1", latency)
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        assert database.get_kernel("k", "f1") == 13.5


def test_end_to_end_rows_survive_and_their_kernels_are_kept(tmp_path, conv_path, conv_package, stats):
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        database.put_end_to_end(conv_path, stats)
        database.put_end_to_end(conv_path, dataclasses.replace(stats, p50=1.1))
        assert [row.p50 for row in database.get_end_to_end(conv_path, "f1")] == [1.0, 1.1]
        assert database.get_end_to_end(conv_path, "f1")[0] == stats
        assert database.get_end_to_end(conv_path, "f2") == []
        assert database.get_kernel(kernel_key(conv_package, 1), "f1") == 20.0


def test_equal_steps_share_the_mean(tmp_path, write, conv_package, stats):
    twice = dataclasses.replace(conv_package, steps=(conv_package.steps[0], *conv_package.steps))
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        database.put_end_to_end(write(twice), dataclasses.replace(stats, per_kernel_us=(10.0, 30.0, 5.0)))
        assert database.get_kernel(kernel_key(twice, 0), "f1") == 20.0


def test_kernel_key_depends_on_what_decides_latency_only(conv_package):
    def changed(**changes):
        step = dataclasses.replace(conv_package.steps[0], **changes)
        return kernel_key(dataclasses.replace(conv_package, steps=(step, conv_package.steps[1])), 0)

    key = kernel_key(conv_package, 0)
    assert changed(source_operator="other", macs=1, modelled_us=9.0) == key
    assert kernel_key(dataclasses.replace(conv_package, weights=bytes(len(conv_package.weights))), 0) == key
    assert changed(local_size=(3, 1, 2)) != key
    assert kernel_key(conv_package, 1) != key


def test_a_file_that_is_no_database_or_of_another_version_is_named(tmp_path):
    (tmp_path / "a.sqlite").write_text("not a database, but long enough to be taken for one" * 40)
    with pytest.raises(DatabaseError, match=r"cannot use the latency database .*a\.sqlite"):
        LatencyDatabase(tmp_path / "a.sqlite")
    connection = sqlite3.connect(tmp_path / "b.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseError, match="has version 99"):
        LatencyDatabase(tmp_path / "b.sqlite")
    with pytest.raises(DatabaseError, match="cannot use"):
        LatencyDatabase(tmp_path / "missing" / "c.sqlite")


def test_measurements_of_version_1_are_brought_up_to_date(tmp_path, conv_path, stats):
    path = tmp_path / "a.sqlite"
    with LatencyDatabase(path) as database:
        database.put_kernel("k", "f1", 12.5)
        database.put_end_to_end(conv_path, stats)
    new = set(stats.to_dict()) - OF_VERSION_1
    connection = sqlite3.connect(path)
    (text,) = connection.execute("SELECT stats FROM packages").fetchone()
    old = {name: value for name, value in json.loads(text).items() if name not in new}
    connection.execute("UPDATE packages SET stats = ?", (json.dumps(old),))
    connection.execute("DROP TABLE reference_times")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    with LatencyDatabase(path) as database:
        assert database.get_kernel("k", "f1") == 12.5
        (found,) = database.get_end_to_end(conv_path, "f1")
    assert (found.p50, found.samples_ms, found.minimum, found.mad) == (1.0, (1.0, 2.0), 1.0, 0.5)
    assert "earlier version" in found.flags["unchecked"]
    with LatencyDatabase(path) as database:
        assert database.get_end_to_end(conv_path, "f1") == [found]


def test_a_flagged_measurement_says_nothing_about_kernels(tmp_path, conv_path, conv_package, stats):
    key = kernel_key(conv_package, 1)
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        database.put_end_to_end(conv_path, dataclasses.replace(stats, flags={"noisy": "others were busy"}))
        assert database.get_end_to_end(conv_path, "f1")[0].flags == {"noisy": "others were busy"}
        assert database.get_kernel(key, "f1") is None
        database.put_end_to_end(conv_path, stats)
        assert database.get_kernel(key, "f1") == 20.0


def test_what_the_reference_usually_takes(tmp_path, conv_path, stats):
    name = stats.reference
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        for time_ms in (5.0, 5.2, 9.0, 5.1):
            database.put_end_to_end(conv_path, dataclasses.replace(stats, reference_ms=(time_ms, time_ms)))
            assert database.usual_reference_ms(name, "f1") is None  # too few to know
        noisy = dataclasses.replace(stats, reference_ms=(90.0, 90.0), flags={"noisy": "others were busy"})
        database.put_end_to_end(conv_path, noisy)
        assert database.usual_reference_ms(name, "f1") is None
        database.put_end_to_end(conv_path, dataclasses.replace(stats, reference_ms=(5.3, 5.3)))
        assert database.usual_reference_ms(name, "f1") == 5.1
        assert database.usual_reference_ms(name, "f2") is None
        assert database.usual_reference_ms("another", "f1") is None


def test_missing_package_is_a_package_error(tmp_path, stats):
    with LatencyDatabase(tmp_path / "a.sqlite") as database, pytest.raises(PackageError, match="cannot read"):
        database.put_end_to_end(tmp_path / "missing.actpkg", stats)


def test_default_path_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ACT_DATABASE", raising=False)
    assert default_path() == tmp_path / "act" / "latency.sqlite"
    monkeypatch.setenv("ACT_DATABASE", str(tmp_path / "mine.sqlite"))
    with LatencyDatabase() as database:
        assert database.path == tmp_path / "mine.sqlite"


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    def write(worker):
        with LatencyDatabase(tmp_path / "a.sqlite") as database:
            for index in range(20):
                database.put_kernel(f"{worker}-{index}", "f", 1.0)

    LatencyDatabase(tmp_path / "a.sqlite").close()
    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with LatencyDatabase(tmp_path / "a.sqlite") as database:
        assert all(database.get_kernel(f"{w}-{i}", "f") == 1.0 for w in range(3) for i in range(20))
