"""Fetching assets when things go wrong:

killed, refused, damaged, without network, without pip, on a full disk.
"""
import errno
import hashlib
import io
import multiprocessing
import os
import sys
import tarfile
import time
import venv
import zipfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

import pytest

from sft_nb import assets, register
from sft_nb.data import asset_tables
from sft_nb.task import AssetError

FILES = {"model.txt": b"weights: 0.25, 0.5\n" * 1000, "deep/config.json": b"{}"}


def sha(data): return hashlib.sha256(data).hexdigest()


def make_wheel(folder, package, members):
    stem = f"{package.replace('-', '_')}-1.0"
    notes = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as z:
        for name, data in (
            members | {f"{stem}.dist-info/{k}": v for k, v in notes.items()}
        ).items():
            z.writestr(zipfile.ZipInfo(name), data)
    return folder / f"{stem}-py3-none-any.whl"


def source(package, wheel, **more):
    "A source entry; `wheel` is its bytes."
    fields = {
        "package": package, "version": "1.0", "license": "CC0-1.0", "sha256": sha(wheel),
    } | more
    return "\n[[toy.sources]]\nbytes = 1000\n" + "".join(
        f'{k} = "{v}"\n' for k, v in fields.items()
    )


def entry(name="toy"):
    listing = "\n".join(f"{sha(d)} {len(d)} {n}" for n, d in FILES.items())
    words = "".join(f'{k} = "-"\n' for k in ("what", "license", "rights", "origin", "citation"))
    return f'[{name}]\nkind = "checkpoint"\n{words}files = """\n{listing}\n"""\n'


def make_sdist(folder, package, members, setup):
    "A source archive whose setup.py would run `setup`."
    stem = f"{package.replace('-', '_')}-1.0"
    with tarfile.open(folder / f"{stem}.tar.gz", "w:gz") as t:
        for name, data in (
            members
            | {
                "PKG-INFO": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n".encode(),
                "setup.py": setup.encode(),
            }
        ).items():
            about = tarfile.TarInfo(f"{stem}/{name}")
            about.size = len(data)
            t.addfile(about, io.BytesIO(data))
    return folder / f"{stem}.tar.gz"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A registry with one asset, an index of one wheel, an empty home; pip's own configuration
    is out of the way.
    """
    index = tmp_path / "index"
    index.mkdir()
    wheel = make_wheel(index, "toy-model", {f"toy/{n}": d for n, d in FILES.items()})
    toml = tmp_path / "assets.toml"
    toml.write_text(entry() + source("toy-model", wheel.read_bytes(), prefix="toy/"))
    for key in [k for k in os.environ if k.startswith("PIP_")]:
        monkeypatch.delenv(key)
    for key, value in {
        "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": index,
        "SFT_NB_HOME": tmp_path / "home",
    }.items():
        monkeypatch.setenv(key, str(value))
    return toml


def message(toml, name="toy"):
    "The one-line error that `get` gives; nothing may be left where the asset would be."
    with pytest.raises(AssetError) as e:
        assets.get(name, toml)
    text = str(e.value)
    assert "\n" not in text
    assert not (assets.home() / name).exists()
    assert not (assets.home() / f".{name}.work").exists()
    return text


def other_index(monkeypatch, toml, address):
    "pip asks this address, once and briefly, and nothing else."
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    for key, value in {"PIP_INDEX_URL": address, "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"}.items():
        monkeypatch.setenv(key, value)
    return toml


def start(toml, log, before=lambda: None):
    """`get` in a process of its own (forked:

    torch is not imported again), which writes what it says and what happened to `log`.
    """
    def child():
        with open(log, "w") as f, redirect_stdout(f):
            try:
                before()
                print(assets.get("toy", toml))
            except AssetError as e:
                print(f"AssetError: {e}")
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def test_get_once_then_from_the_cache(toy, capfd):
    folder = assets.get("toy", toy)
    assert {n: (folder / n).read_bytes() for n in FILES} == FILES
    assert capfd.readouterr() == ("Fetching toy: 1 kB from the package index …\n", "")
    os.environ["PIP_FIND_LINKS"] = "nowhere"
    assert assets.get("toy", toy) == folder and capfd.readouterr() == ("", "")
    assert not list(assets.home().glob("*.work"))


def test_two_processes_at_once(toy, tmp_path, monkeypatch):
    copy = assets._copy
    monkeypatch.setattr(assets, "_copy", lambda *a: (time.sleep(1), copy(*a))[1])
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    for process in [start(toy, log) for log in logs]:
        process.join(120)
    said = [log.read_text().splitlines() for log in logs]
    assert [lines[-1] for lines in said] == [str(assets.home() / "toy")] * 2
    assert sum(map(len, said)) == 3
    assert assets.verify("toy", toy).state.tolist() == ["complete"]


def test_killed_in_the_middle_leaves_no_half_asset(toy, tmp_path, monkeypatch):
    copy, mark = assets._copy, tmp_path / "mark"
    monkeypatch.setattr(assets, "_copy", lambda *a: (copy(*a), mark.touch(), time.sleep(600)))
    process = start(toy, tmp_path / "log")
    while not mark.exists() and process.is_alive():
        time.sleep(0.05)
    process.kill()
    process.join()
    work = assets.home() / ".toy.work"
    assert (work / "new" / "model.txt").exists() and not (assets.home() / "toy").exists()
    assert assets.verify("toy", toy).state.tolist() == ["not fetched"]
    monkeypatch.setattr(assets, "_copy", copy)
    assert (assets.get("toy", toy) / "model.txt").read_bytes() == FILES["model.txt"]
    assert not work.exists()


def test_interrupt_cleans_up(toy, monkeypatch):
    def stop(*a): raise KeyboardInterrupt
    monkeypatch.setattr(assets, "_copy", stop)
    with pytest.raises(KeyboardInterrupt):
        assets.get("toy", toy)
    assert not (assets.home() / "toy").exists() and not (assets.home() / ".toy.work").exists()


def test_wrong_hash_of_the_wheel(toy, tmp_path):
    make_wheel(tmp_path / "index", "toy-model", {f"toy/{n}": d + b" " for n, d in FILES.items()})
    text = message(toy)
    assert "not the file that was registered" in text
    assert "PIP_INDEX_URL" in text
    assert str(assets.home() / "toy") in text
    assert "pip said: Got" in text


def test_wrong_hash_of_a_member(toy):
    toy.write_text(toy.read_text().replace(sha(FILES["model.txt"]), "0" * 64))
    assert "does not contain what the registry says" in (text := message(toy))
    assert "model.txt has another SHA-256" in text


def test_member_that_is_not_in_the_wheel(toy):
    toy.write_text(toy.read_text().replace("toy/", "elsewhere/"))
    assert "elsewhere/model.txt" in message(toy)


def test_package_missing_from_the_index(toy, tmp_path):
    (tmp_path / "index" / "toy_model-1.0-py3-none-any.whl").unlink()
    text = message(toy)
    assert "does not offer toy-model 1.0" in text
    assert "pip config set global.index-url" in text
    assert text.endswith("No matching distribution found for toy-model==1.0)")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/simple", "https://mirror.invalid/simple"])
def test_no_network(toy, monkeypatch, address):
    text = message(other_index(monkeypatch, toy, address))
    assert text.startswith("The package index cannot be reached to fetch toy: set a mirror")
    assert "SFT_NB_HOME" in text
    assert "pip said" in text


def test_mirror_that_pip_does_not_trust(toy, monkeypatch):
    assert "global.trusted-host" in message(
        other_index(monkeypatch, toy, "http://mirror.invalid/simple")
    )


def test_no_pip(toy, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(assets.sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert "has no pip" in (text := message(toy)) and "uv pip install pip" in text


def test_full_disk_while_unpacking(toy, monkeypatch):
    def full(*a): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(assets.os, "fsync", full)
    assert message(toy).startswith("The disk is full, and toy needs about")


def test_full_disk_while_pip_downloads(toy, monkeypatch):
    said = (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
    )
    monkeypatch.setattr(assets.subprocess, "run", lambda *a, **k: CompletedProcess(a, 1, "", said))
    assert message(toy).startswith("The disk is full") and errno.ENOSPC == 28


def test_home_that_cannot_be_written(toy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(AssetError, match="nothing can be written there"):
        assets.get("toy", toy)


def tree(folder): return {p: p.stat().st_mtime_ns for p in [folder, *folder.rglob("*")]}


def test_read_only_home(toy, monkeypatch):
    """A complete asset needs neither lock nor write; an incomplete one says who can help.

    Run as nobody where we are root.
    """
    def nobody():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        assert not os.access(assets.home(), os.W_OK)
    with TemporaryDirectory() as name:  # not below tmp_path, which nobody else may enter
        shared = Path(name)
        shared.chmod(0o777)
        home, toml, log = shared / "home", shared / "assets.toml", shared / "log"
        monkeypatch.setenv("SFT_NB_HOME", str(home))
        toml.write_text(toy.read_text())
        assets.get("toy", toml)
        for path in tree(home):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = tree(home)
        start(toml, log, nobody).join()
        assert log.read_text() == f"{home / 'toy'}\n" and tree(home) == before
        toml.write_text(toml.read_text().replace(sha(FILES["model.txt"]), "0" * 64))
        start(toml, log, nobody).join()
        assert log.read_text().startswith("AssetError: toy is not complete in")
        assert tree(home) == before
        for path in tree(home):
            path.chmod(0o755)


@pytest.mark.parametrize("inner", [False, True])
def test_source_archive_and_nothing_in_it_is_run(toy, tmp_path, inner):
    """Only the source archive has the files, in it or in an archive inside it; its setup.py
    would leave a mark.
    """
    mark = tmp_path / "mark"
    members = {f"data/{n}": d for n, d in FILES.items()}
    more = {"prefix": "toy_source-1.0/data/"}
    if inner:
        with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as t:
            for n, d in FILES.items():
                about = tarfile.TarInfo(f"deep/{n}")
                about.size = len(d)
                t.addfile(about, io.BytesIO(d))
        members = {"more/data.tar.gz": packed.getvalue()}
        more = {"zip": "toy_source-1.0/more/data.tar.gz", "prefix": "deep/"}
    archive = make_sdist(
        tmp_path / "index", "toy-source", members,
        f"open({str(mark)!r}, 'w'); raise SystemExit('setup.py was run')",
    )
    toy.write_text(entry() + source("toy-source", archive.read_bytes(), **more))
    assert {n: (assets.get("toy", toy) / n).read_bytes() for n in FILES} == FILES
    assert not mark.exists()


def test_source_archive_without_the_member_or_with_another_hash(toy, tmp_path):
    archive = make_sdist(tmp_path / "index", "toy-source", {"a": b"a"}, "")
    toy.write_text(entry() + source("toy-source", archive.read_bytes(), prefix="toy_source-1.0/"))
    assert "does not contain what the registry says" in (text := message(toy))
    assert "model.txt" in text
    toy.write_text(entry() + source("toy-source", archive.read_bytes(), zip="toy_source-1.0/b.zip"))
    assert "does not contain what the registry says" in message(toy)
    make_sdist(tmp_path / "index", "toy-source", {"a": b"b"}, "")
    assert "not the file that was registered" in message(toy)


def test_unknown_name(toy):
    with pytest.raises(AssetError, match="Did you mean 'toy'"):
        assets.get("tyo", toy)
    with pytest.raises(AssetError, match="Did you mean 'rotten-tomatoes'"):
        asset_tables.load_data("rotten_tomatoes")


def test_second_source_when_the_first_fails(toy, tmp_path, capfd):
    "The first package is gone; the second holds the files in an archive of its own."
    (tmp_path / "index" / "toy_model-1.0-py3-none-any.whl").unlink()
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as z:
        for name, data in FILES.items():
            z.writestr(name, data)
    wheel = make_wheel(
        tmp_path / "index", "toy-zip", {"toy/inner.zip": (tmp_path / "inner.zip").read_bytes()}
    )
    toy.write_text(toy.read_text() + source("toy-zip", wheel.read_bytes(), zip="toy/inner.zip"))
    assert (assets.get("toy", toy) / "model.txt").read_bytes() == FILES["model.txt"]
    assert capfd.readouterr().out.count("Fetching") == 1


def test_all_sources_fail(toy, tmp_path):
    for wheel in (tmp_path / "index").iterdir():
        wheel.unlink()
    toy.write_text(toy.read_text() + source("toy-two", b""))
    text = message(toy)
    assert "does not offer toy-model 1.0 or toy-two 1.0" in text and text.count("pip said") == 2


def test_verify_names_the_damaged_file_and_get_repairs_by_size(toy):
    assert assets.verify(toml=toy).state.tolist() == ["not fetched"]
    folder = assets.get("toy", toy)
    data = bytearray(FILES["model.txt"])
    data[0] ^= 1
    (folder / "model.txt").write_bytes(data)
    assert assets.verify("toy", toy).state[0].startswith("damaged: model.txt;")
    (folder / "model.txt").write_bytes(b"short")
    assert (assets.get("toy", toy) / "model.txt").read_bytes() == FILES["model.txt"]


def test_new_registry_replaces_the_old_asset(toy, tmp_path):
    assets.get("toy", toy)
    FILES_2 = {n: d[::-1] for n, d in FILES.items()}
    wheel = make_wheel(tmp_path / "index", "toy-model", {f"toy/{n}": d for n, d in FILES_2.items()})
    text = entry() + source("toy-model", wheel.read_bytes(), prefix="toy/")
    for name in FILES:
        text = text.replace(sha(FILES[name]), sha(FILES_2[name]))
    toy.write_text(text)
    assert (assets.get("toy", toy) / "model.txt").read_bytes() == FILES_2["model.txt"]


def test_export_round_trip(toy, tmp_path, monkeypatch):
    stick = assets.export(tmp_path / "stick", toml=toy)
    assert assets.export(stick, ["toy"], toy) == stick
    monkeypatch.setenv("SFT_NB_HOME", str(stick))
    monkeypatch.setenv("PIP_FIND_LINKS", "nowhere")
    assert assets.get("toy", toy) == stick / "toy"
    assert assets.verify(toml=toy).state.tolist() == ["complete"]


def test_export_does_not_carry_damage(toy, tmp_path):
    folder = assets.get("toy", toy)
    (folder / "model.txt").write_bytes(FILES["model.txt"][::-1])
    with pytest.raises(AssetError, match="damaged: delete its folder"):
        assets.export(tmp_path / "stick", toml=toy)
    assert not (tmp_path / "stick" / "toy").exists()


@pytest.mark.parametrize("text", ["not toml", "[toy]\nkind = 1\n"])
def test_registry_that_cannot_be_read(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(AssetError, match="mine.toml cannot be read"):
        register.names(toml=tmp_path / "mine.toml")


def test_a_registry_is_an_ordinary_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for name, said in (("pipe.toml", "a pipe"), ("", "is a folder"), ("none.toml", "There is no")):
        with pytest.raises(AssetError, match=said):
            register.registry(tmp_path / name)


def test_pip_constraints_of_the_user_are_no_network_trouble(toy, tmp_path, monkeypatch):
    (tmp_path / "constraints.txt").write_text("toy-model<1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    assert message(toy).startswith("pip could not fetch toy")


def test_no_asset_is_imported(toy):
    assets.get("toy", toy)
    assert not any(m == "toy" or m.startswith("toy_model") for m in sys.modules)


SIZES = {
    "rated-sentences": (18314, ["text", "rating", "spread", "raters", "source", "document"]),
    "rotten-tomatoes": (12808, ["text", "label", "movie"]),
    "tweets-ner": (2394, ["words", "labels"]),
    "mnist-5k": (5000, ["image", "label"]),
    "ui-strings": (None, ["source", "target", "context", "language", "part"]),
    "newsgroups": (18846, ["text", "label", "part", "post"]),
    "trec-questions": (5952, ["text", "label", "part"]),
    "sms-spam": (5574, ["text", "label"]),
    "bbc-news": (2225, ["text", "label", "article"]),
    "fashion-mnist": (70000, ["image", "label", "part"]),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_for_real(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path))
    for name in register.names():
        assets.get(name)
    out, err = capfd.readouterr()
    assert len(register.names()) == 13 and err == ""
    assert len(out.splitlines()) == 11  # three lie in one package
    assert set(assets.verify().state) == {"complete"}
    for name, (count, columns) in SIZES.items():
        rows = asset_tables.load_data(name)
        assert list(rows.columns) == columns and len(rows) == (count or len(rows))
        if name == "mnist-5k":
            assert rows.image[0].shape == (28, 28) and set(rows.label) == set(range(10))
        if name == "tweets-ner":
            assert all(len(w) == len(t) for w, t in zip(rows.words, rows.labels, strict=True))
        if name == "ui-strings":
            assert rows.language.nunique() == 27 and (rows.groupby("language").size() > 450).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_second_source_of_minilm_for_real(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_NB_HOME", str(tmp_path))
    second = replace(register.info("minilm"), sources=register.info("minilm").sources[1:])
    folder = assets._place(second, tmp_path, lambda work: assets._fetch(second, work))
    assert assets.get("minilm") == folder and assets.verify("minilm").state.tolist() == ["complete"]
