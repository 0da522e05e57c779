import pytest
from act.device.adb.client import AdbClient, check_serial, list_attached
from act.device.adb.failures import AdbTimeoutError, TransientError, UnusablePhoneError
from act.device.errors import DeviceError


@pytest.mark.parametrize("serial", ["R58M12ABCDE", "127.0.0.1:5555", "emulator-5554", "adb-R58M._adb-tls-connect._tcp"])
def test_serials_are_taken_as_they_are(serial):
    assert check_serial(serial) == serial


@pytest.mark.parametrize("serial", ["", "-a", "a b", "a;reboot", "$(x)", "a\nb", "x" * 200])
def test_other_serials_never_reach_adb(serial):
    with pytest.raises(DeviceError, match="is no serial"):
        check_serial(serial)


HOSTILE = ["a b", "$(touch /data/local/tmp/owned)", "`id`", "'", '"', "\\", "a;b", "*", "~", "", "ä\n€", "-n", "$HOME"]


@pytest.mark.parametrize("features", ["shell_v2,cmd,stat_v2", "cmd"])
def test_arguments_arrive_as_they_were_given(make_phone, private_adb, features):
    phone = make_phone(features=features)
    result = AdbClient(private_adb, phone.serial).shell(["printf", "[%s]", *HOSTILE])
    assert (result.exit_code, result.output) == (0, "".join(f"[{word}]" for word in HOSTILE))
    assert phone.files() == []


@pytest.mark.parametrize("features", ["shell_v2,cmd,stat_v2", "cmd"])
def test_exit_codes_come_from_both_shells(make_phone, private_adb, features):
    client = AdbClient(private_adb, make_phone(features=features).serial)
    result = client.shell(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert result.exit_code == 7
    assert (result.output + result.errors).split() == ["out", "err"]


def test_output_without_its_end_is_no_output(client, phone):
    with pytest.raises(TransientError):
        client.shell(["sh", "-c", "kill -9 $PPID; sleep 1"])


def test_time_and_output_are_limited(client):
    with pytest.raises(AdbTimeoutError, match=r"'adb shell' did not end within 0\.3 s and was stopped"):
        client.shell(["sleep", "5"], timeout_s=0.3)
    with pytest.raises(TransientError, match="printed more than 1000 bytes"):
        client.shell(["sh", "-c", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"], output_bytes=1000)


def test_files_have_their_names_when_they_are_whole(client, phone, tmp_path):
    content = bytes(range(256)) * 2000
    (tmp_path / "a b").write_bytes(content)
    client.push(tmp_path / "a b", "/data/local/tmp/x", executable=True)
    there = phone.locate("/data/local/tmp/x")
    assert (there.read_bytes(), there.stat().st_mode & 0o777) == (content, 0o755)
    client.pull("/data/local/tmp/x", tmp_path / "back", size=len(content))
    assert (tmp_path / "back").read_bytes() == content
    client.remove("/data/local/tmp/x")
    assert phone.files() == []


def test_a_damaged_file_never_gets_its_name(client, phone, tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    phone.inject("wrong_checksum")
    with pytest.raises(TransientError, match="a file of 5 bytes arrived damaged: SHA-256 and size there are"):
        client.push(tmp_path / "a", "/data/local/tmp/x")
    assert phone.files() == []


def test_a_push_that_does_not_fit_leaves_nothing(client, phone, tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    phone.inject("no_space")
    with pytest.raises(UnusablePhoneError, match="its storage is full"):
        client.push(tmp_path / "a", "/data/local/tmp/x")
    assert phone.files() == []


def test_a_file_of_another_size_is_not_pulled(client, phone, tmp_path):
    phone.locate("/data/local/tmp/x").write_bytes(b"12345")
    with pytest.raises(TransientError, match="has 5 bytes there, expected are 6"):
        client.pull("/data/local/tmp/x", tmp_path / "back", size=6)
    assert not list(tmp_path.glob("back*"))


def test_phones_are_listed_with_their_states(phone, make_phone, private_adb, run_adb):
    locked = make_phone(connect=False)
    locked.authorised = False
    run_adb("connect", locked.address)
    states = {entry.serial: (entry.state, entry.details.get("model")) for entry in list_attached(private_adb)}
    assert states == {phone.serial: ("device", "SM_G973U"), locked.serial: ("unauthorized", None)}
