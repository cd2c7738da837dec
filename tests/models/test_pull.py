"""Downloads against a hub on loopback: whole, cut in the middle, resumed later, corrupted, refused."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.errors import BadOption, ModelMissing
from realtime.models import cli
from realtime.models.engines import Published, Repo
from realtime.models.hubs import RemoteFile, open_hub
from realtime.models.pull import check_room, download, part_of, wanted_files

BIG = "voices/v/am/ckpt/checkpoint_0.pth"


def pull(hub: Any, models_dir: Path, *more: str, name: str = "owner/voice", kind: str = "modelscope") -> int:
    arguments = ["--dir", str(models_dir), "pull", "sambert", name, "--hub", kind, "--endpoint", hub.url, "--no-export", *more]
    return cli.main(arguments)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.models.pull.BACKOFF_S", 0.0)


def snapshot(models_dir: Path) -> Path:
    (found,) = models_dir.glob(".snapshots/*/*/*")
    return found


@pytest.mark.parametrize("kind", ["modelscope", "huggingface"])
def test_a_repository_arrives_whole_from_either_hub(kind: str, hub: Any, models_dir: Path) -> None:
    if kind == "huggingface":
        pytest.importorskip("huggingface_hub", reason="needs the extra `convert`")
    assert pull(hub, models_dir, "--accept-licence", kind=kind) == 0
    folder = snapshot(models_dir)
    for path, data in hub.files.items():
        assert (folder / path).read_bytes() == data
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize("kind", ["modelscope", "huggingface"])
def test_a_cut_connection_is_taken_up_where_it_broke(kind: str, hub: Any, models_dir: Path) -> None:
    if kind == "huggingface":
        pytest.importorskip("huggingface_hub", reason="needs the extra `convert`")
    hub.cut[BIG] = 3
    assert pull(hub, models_dir, "--accept-licence", kind=kind) == 0
    assert (snapshot(models_dir) / BIG).read_bytes() == hub.files[BIG]
    ranges = [wanted for _, wanted in hub.requests if wanted]
    size = len(hub.files[BIG])
    assert ranges == [f"bytes={size // 2}-", f"bytes={size * 3 // 4}-", f"bytes={size * 7 // 8}-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(hub: Any, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.cut[BIG] = 1
    hub.has_ranges = True
    real, hub.status = hub.status, {}
    hub.cut[BIG] = 10_000  # halves for ever: progress gets smaller until it is none
    assert pull(hub, models_dir, "--accept-licence") == 1
    assert "are kept, run the same command to go on" in capsys.readouterr().err
    part = snapshot(models_dir) / (BIG + ".part")
    kept = part.stat().st_size
    assert kept > len(hub.files[BIG]) // 2
    hub.cut.clear()
    hub.status = real
    hub.requests.clear()
    assert pull(hub, models_dir) == 0
    assert (BIG, f"bytes={kept}-") in [(BIG if "FilePath=voices" in path else "", wanted) for path, wanted in hub.requests]
    assert (snapshot(models_dir) / BIG).read_bytes() == hub.files[BIG]


def test_a_hub_that_does_not_resume_is_started_over(hub: Any, models_dir: Path) -> None:
    hub.cut[BIG], hub.has_ranges = 1, False
    assert pull(hub, models_dir, "--accept-licence") == 0
    assert (snapshot(models_dir) / BIG).read_bytes() == hub.files[BIG]


def test_a_corrupted_file_is_fetched_once_more(hub: Any, models_dir: Path) -> None:
    hub.corrupt[BIG] = 1
    assert pull(hub, models_dir, "--accept-licence") == 0
    assert (snapshot(models_dir) / BIG).read_bytes() == hub.files[BIG]


def test_a_file_that_stays_corrupted_is_reported_and_not_kept(hub: Any, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.corrupt[BIG] = 99
    assert pull(hub, models_dir, "--accept-licence") == 1
    message = capsys.readouterr().err
    assert "checkpoint_0.pth" in message and "checksum does not match" in message
    assert not (snapshot(models_dir) / BIG).exists() and not list(models_dir.rglob("*.part"))


def test_what_is_there_and_right_is_not_fetched_again(hub: Any, models_dir: Path) -> None:
    assert pull(hub, models_dir, "--accept-licence") == 0
    hub.requests.clear()
    assert pull(hub, models_dir) == 0
    assert not [path for path, _ in hub.requests if "FilePath" in path]


def test_the_licence_is_shown_and_must_be_accepted_once(hub: Any, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pull(hub, models_dir) == 1
    shown = capsys.readouterr()
    assert "Apache License 2.0" in shown.out and "--accept-licence" in shown.err
    assert not list(models_dir.glob(".snapshots/**/*"))
    assert pull(hub, models_dir, "--accept-licence") == 0
    capsys.readouterr()
    assert pull(hub, models_dir) == 0
    assert "licence: " not in capsys.readouterr().out
    hub.licence = "other terms"
    assert pull(hub, models_dir) == 1


@pytest.mark.parametrize(("status", "message"), [(404, "404"), (403, "403"), (503, "503")])
def test_a_refusal_of_the_hub_is_passed_on(
    status: int, message: str, hub: Any, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status[BIG] = status
    assert pull(hub, models_dir, "--accept-licence") == 1
    assert message in capsys.readouterr().err


def test_an_unknown_repository_hub_or_address_is_named(hub: Any, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pull(hub, models_dir, name="nobody/nothing") == 1
    assert "model not found" in capsys.readouterr().err
    assert pull(hub, models_dir, name="nothing") == 1
    assert "no published model 'nothing'" in capsys.readouterr().err
    with pytest.raises(BadOption, match="http"):
        open_hub("modelscope", "ftp://x")
    with pytest.raises(BadOption, match="unknown hub"):
        open_hub("elsewhere")
    assert cli.main(["--dir", str(models_dir), "pull", "espeak"]) == 1


def test_nobody_there_is_said_so(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--dir", str(models_dir), "pull", "sambert", "a/b", "--endpoint", "http://127.0.0.1:9", "--no-export"]
    assert cli.main(arguments) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_nobody_there_is_said_so_of_the_other_hub_too(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra `convert`")
    arguments = ["--dir", str(models_dir), "pull", "indextts2", "--endpoint", "http://127.0.0.1:9", "--no-export"]
    assert cli.main(arguments) == 1
    assert "http://127.0.0.1:9: can't read IndexTeam/IndexTTS-2" in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_said(tmp_path: Path, hub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").write_text("")
    assert pull(hub, tmp_path / "models", "--accept-licence") == 1
    assert f"realtime models: {tmp_path / 'models'}" in capsys.readouterr().err


def test_a_token_stays_with_its_hub(hub: Any, tmp_path: Path) -> None:
    elsewhere = f"http://localhost:{hub.port}/owner/voice/resolve/main/{BIG}"
    hub.redirects = {BIG: elsewhere}
    here = open_hub("modelscope", hub.url)
    here.headers = lambda: {"Authorization": "Bearer secret"}  # type: ignore[method-assign]
    file = RemoteFile(BIG, len(hub.files[BIG]), f"{hub.url}/api/v1/models/owner/voice/repo?Revision=master&FilePath={BIG}")
    assert download(here, file, tmp_path).read_bytes() == hub.files[BIG]
    assert hub.tokens == [("127.0.0.1", "Bearer secret"), ("localhost", None)]


def test_a_listing_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    for path in ("../evil", "/etc/evil", "a/../../evil"):
        with pytest.raises(ModelMissing, match="outside its repository"):
            wanted_files([RemoteFile(path, 1, "http://x")], ())


def test_progress_adds_up_to_the_size(hub: Any, tmp_path: Path) -> None:
    hub.cut[BIG], hub.corrupt[BIG] = 1, 1
    client = open_hub("modelscope", hub.url)
    (file,) = [one for one in client.describe("owner/voice", "").files if one.path == BIG]
    counted: list[int] = []
    download(client, file, tmp_path, counted.append, wait=lambda seconds: None)
    assert sum(counted) == file.size


def test_the_hubs_licence_and_a_plain_name_go_to_the_export(
    hub: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[Any, ...]] = []

    def export(engine: str, snapshots: dict[str, Path], out: Path, options: dict[str, Any]) -> list[Path]:
        given.append((engine, dict(snapshots), out, dict(options)))
        return [out / "made"]

    monkeypatch.setattr("realtime.models.engines.export", export)
    command = ["--dir", str(models_dir), "pull", "sambert", "owner/voice", "--hub", "modelscope", "--endpoint", hub.url, "--accept-licence"]
    assert cli.main(command) == 0
    ((engine, snapshots, out, options),) = given
    assert (engine, snapshots, out) == ("sambert", {"owner/voice": snapshot(models_dir)}, models_dir / "sambert")
    assert options == {"name": "voice", "licence": "Apache License 2.0"}
    assert f"exported {models_dir / 'sambert' / 'made'}" in capsys.readouterr().out


def test_licences_of_several_repositories_are_named_by_repository(hub: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Published("two", (Repo("modelscope", "owner/voice", "", ("*.json",)), Repo("modelscope", "owner/voice", "v2", ("*.json",))))
    monkeypatch.setattr("realtime.models.engines.published", lambda engine: (two,))
    licences: list[object] = []
    monkeypatch.setattr("realtime.models.engines.export", lambda *given: licences.append(given[-1]["licence"]) or [])
    assert cli.main(["--dir", str(models_dir), "pull", "sambert", "--endpoint", hub.url, "--accept-licence"]) == 0
    assert licences == ["owner/voice: Apache License 2.0; owner/voice: Apache License 2.0"]


def test_room_on_the_disk_is_checked_before_the_first_byte(
    hub: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = len(hub.files[BIG])
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=size - 1))
    assert pull(hub, models_dir, "--accept-licence") == 1
    assert "the download takes 0.0 GB" in capsys.readouterr().err
    assert not list(models_dir.glob(".snapshots/**/*"))
    part = part_of(models_dir / BIG)
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(100))
    check_room(models_dir, [(models_dir, RemoteFile(BIG, size, ""))])  # what is there already needs no room


def test_a_disk_that_fills_up_is_said_at_once(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("realtime.models.pull._fetch_once", full)
    with pytest.raises(ModelMissing, match="the disk is full; what came is kept"):
        download(open_hub("modelscope", hub.url), RemoteFile(BIG, 10, hub.url), tmp_path, wait=lambda seconds: pytest.fail("waited"))


def test_no_download_begins_before_every_licence_is_accepted(hub: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Published("two", (Repo("modelscope", "owner/voice"), Repo("modelscope", "owner/absent")))
    monkeypatch.setattr("realtime.models.engines.published", lambda engine: (two,))
    assert cli.main(["--dir", str(models_dir), "pull", "sambert", "--endpoint", hub.url, "--accept-licence"]) == 1
    assert not any("FilePath" in path for path, _ in hub.requests)
