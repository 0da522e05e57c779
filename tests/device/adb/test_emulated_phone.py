"""The emulated phone is one to the real adb program."""


def test_adb_lists_it(phone, run_adb):
    code, output = run_adb("devices", "-l")
    assert code == 0
    assert f"{phone.serial}" in output and "model:SM_G973U" in output and "device:beyond1q" in output


def test_exit_codes_and_both_outputs_come_over_shell_v2(phone, run_adb):
    assert run_adb("-s", phone.serial, "shell", "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")


def test_shell_v1_has_no_exit_codes(make_phone, run_adb):
    old = make_phone(features="cmd")
    assert run_adb("-s", old.serial, "shell", "echo out; exit 7")[0] == 0


def test_files_travel_both_ways(phone, run_adb, tmp_path):
    content = bytes(range(256)) * 3000
    (tmp_path / "sent").write_bytes(content)
    assert run_adb("-s", phone.serial, "push", str(tmp_path / "sent"), "/data/local/tmp/x")[0] == 0
    assert phone.locate("/data/local/tmp/x").read_bytes() == content
    assert run_adb("-s", phone.serial, "pull", "/data/local/tmp/x", str(tmp_path / "back"))[0] == 0
    assert (tmp_path / "back").read_bytes() == content


def test_it_answers_as_a_galaxy_s10(phone, run_adb):
    assert "[ro.product.model]: [SM-G973U]" in run_adb("-s", phone.serial, "shell", "getprop")[1]
    assert "Thermal Status: 0" in run_adb("-s", phone.serial, "shell", "dumpsys thermalservice")[1]
