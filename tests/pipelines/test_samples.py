"""Sample packages: real pip on a directory of wheels, checks, errors that help; and how sets become documents."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile

import pytest

from windtunnel.pipelines.readers.batches import Row
from windtunnel.pipelines.samples import models, package_clients
from windtunnel.pipelines.samples import sample_set as samples
from windtunnel.pipelines.samples.cache import cache_directory
from windtunnel.pipelines.samples.packages import Package, materialise
from windtunnel.pipelines.samples.sample_set import SampleSet
from windtunnel.pipelines.samples.sets.api_docs import documentation
from windtunnel.pipelines.samples.sets.dialogue import turns
from windtunnel.pipelines.samples.sets.drama import scenes
from windtunnel.pipelines.sources.samples import Samples
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.errors import InputError, RecipeError


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A pip that knows one package, in a directory, and no network; and a cache of its own."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "toytexts-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toytexts/a.txt", "first text")
        wheel.writestr("toytexts/b.txt", "second text, longer")
        wheel.writestr("../../escape.txt", "must stay inside")
        wheel.writestr("toytexts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toytexts\nVersion: 1.0\n")
        wheel.writestr("toytexts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toytexts-1.0.dist-info/RECORD", "")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": wheels.as_uri(),  # pip takes a space for the end of a path
        "PIP_CONFIG_FILE": "/dev/null",
        "WINDTUNNEL_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return wheels


def toy(index, **changed):
    sha256 = hashlib.sha256((index / "toytexts-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    return Package(
        **{"registry": "pypi", "name": "toytexts", "version": "1.0", "sha256": sha256, "megabytes": 0.1, **changed}
    )


def test_a_package_is_fetched_once_checked_and_read_in_place(index, tmp_path):
    package = toy(index)
    assert package.cached() is None
    assert [name for name, _ in package.members() if name.startswith("toytexts/")] == [
        "toytexts/a.txt",
        "toytexts/b.txt",
    ]
    assert package.read("toytexts/a.txt") == b"first text"
    (index / "toytexts-1.0-py3-none-any.whl").unlink()
    assert package.read("toytexts/b.txt") == b"second text, longer"  # the cache needs no index
    assert not list(tmp_path.rglob("escape.txt"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".fetch-")]


def test_another_file_than_the_pinned_one_is_not_kept(index):
    with pytest.raises(InputError, match="is known with 0000"):
        toy(index, sha256="0" * 64).fetch()
    assert toy(index).cached() is None


@pytest.mark.parametrize("place", ["file", "/proc/nope"])
def test_a_cache_that_cannot_be_made_is_said(index, tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path / place))
    with pytest.raises(InputError, match="set WINDTUNNEL_CACHE to a directory"):
        toy(index).fetch()


def test_a_damaged_cache_is_noticed(index):
    package = toy(index)
    path = package.fetch()
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(InputError, match="delete it and run again"):
        package.read("toytexts/a.txt")


def test_without_an_index_the_error_says_what_was_asked_and_how_to_set_one(index):
    with pytest.raises(InputError) as raised:
        toy(index, name="nowhere-to-be-found", version="9.9", megabytes=12.5).fetch()
    for words in ("nowhere-to-be-found==9.9", "12.5 MB", "pip config set global.index-url", "no other network"):
        assert words in str(raised.value)


def test_credentials_of_an_index_are_not_repeated(monkeypatch):
    done = subprocess.CompletedProcess([], 1, "", "ERROR: cannot reach https://user:secret@index.example/simple")
    monkeypatch.setattr(package_clients.subprocess, "run", lambda *a, **k: done)
    _, words = package_clients._run(["pip"], Package("pypi", "x", "1", "", 1))
    assert "secret" not in words
    assert "index.example" in words


def test_two_processes_at_once_fetch_one_archive(index):
    package = toy(index)
    code = (
        "from windtunnel.pipelines.samples.packages import Package; "
        f"p = Package('pypi', 'toytexts', '1.0', '{package.sha256}', 0.1); print(p.read('toytexts/a.txt').decode())"
    )
    racing = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=120)[0].strip() for process in racing] == ["first text"] * 3
    kept = [path for path in (cache_directory() / "packages").iterdir() if not path.name.startswith(".")]
    assert len(kept) == 1


def test_a_member_is_written_where_we_say_and_only_if_it_is_the_right_one(index, tmp_path):
    sha256 = hashlib.sha256(b"must stay inside").hexdigest()
    path = materialise(toy(index), "../../escape.txt", tmp_path / "models" / "ours.bin", sha256)
    assert path.read_bytes() == b"must stay inside"
    with pytest.raises(InputError, match="has sha256"):
        materialise(toy(index), "toytexts/a.txt", tmp_path / "models" / "other.bin", sha256)
    assert not (tmp_path / "models" / "other.bin").exists()


def test_a_tar_becomes_a_zip_of_its_regular_files(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, kind in (
            ("./usr/a.html", tarfile.REGTYPE),
            ("usr/link", tarfile.SYMTYPE),
            ("usr/dev", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"page"))
    packed.seek(0)
    package_clients._tar_to_zip(packed, tmp_path / "sealed.zip", "ab" * 32)
    with zipfile.ZipFile(tmp_path / "sealed.zip") as sealed:
        assert sealed.namelist() == ["usr/a.html"]
        assert sealed.comment == b"ab" * 32


def test_without_the_client_of_a_registry_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(package_clients.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="Debian or Ubuntu"):
        Package("debian", "some-doc", "", "", 1).fetch()
    with pytest.raises(InputError, match="needs npm"):
        Package("npm", "@scope/some", "1.0.0", "", 1).fetch()


@pytest.mark.parametrize("sizes", [[5], [1] * 17, [100, 1, 1, 1], [1, 1, 1, 100], [0, 0, 3], [7, 7, 7]])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_parts_hold_every_member_once_and_in_order(sizes, count):
    class Toy(SampleSet):
        name, parts = "toy", count

        def members(self):
            return [(str(number), size) for number, size in enumerate(sizes)]

        def rows(self, member):
            yield Row(member, "toy")

    found = [row.text for number in range(count) for row in Toy().part(number)]
    assert found == [str(number) for number in range(len(sizes))]


def test_every_set_says_licence_and_origin_and_where_it_comes_from():
    assert {"api_docs", "encyclopedia", "drama", "code", "dialogue"} <= set(samples.names())
    for name in samples.names():
        wanted = samples.sample_set(name)
        assert wanted.name == name
        about = samples.describe(name)
        assert all(about[key] for key in ("about", "licence", "origin"))
        assert all(p.registry == "debian" or len(p.sha256) == 64 for p in wanted.packages)
    with pytest.raises(RecipeError, match="did you mean 'drama'"):
        samples.sample_set("dramma")


def test_the_plan_of_pinned_sets_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(package_clients, "fetch", lambda *a: pytest.fail("fetched while planning"))
    parts = Samples(names=("api_docs", "encyclopedia", "code", "drama")).parts()
    assert len(parts) == sum(samples.sample_set(n).parts for n in ("api_docs", "encyclopedia", "code", "drama"))
    json.dumps(parts)


def test_the_standard_library_is_code_without_tests_and_packages():
    wanted = samples.sample_set("code")
    files = [name for name, _ in wanted.members()]
    assert "json/decoder.py" in files
    assert not [name for name in files if "site-packages" in name or "/test/" in name]
    (row,) = wanted.rows("json/decoder.py")
    assert isinstance(row, Row)
    assert "class JSONDecoder" in row.text


def test_a_play_becomes_scenes_without_markdown():
    play = (
        "# Play\n\n## ACT I\n\n### SCENE I. A room.\n\n_Enter A_\n\n**A**  \nFirst line  \nsecond\n\n"
        "## ACT II\n\n### SCENE I\n\n**B**  \nEnd\n"
    )
    assert list(scenes(play)) == [
        ("ACT I", "SCENE I. A room.", "SCENE I. A room.\n\nEnter A\n\nA\nFirst line\nsecond"),
        ("ACT II", "SCENE I", "SCENE I\n\nB\nEnd"),
    ]


def test_documentation_is_found_at_any_depth():
    service = {
        "documentation": "top",
        "shapes": {"X": {"members": [{"documentation": "deep"}, {"documentation": {"documentation": 1}}]}},
    }
    assert list(documentation(service)) == [("", "top"), ("/shapes/X/members/0", "deep")]


def test_a_conversation_is_one_turn_a_line():
    assert turns(["How are\nyou?", "Fine.", None, 7]) == "How are you?\nFine.\n7"
    assert turns("one line") == "one line"
    assert turns({"not": "a list"}) == ""


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "documents", "languages"),
    [("api_docs", 23_862, 1), ("encyclopedia", 26_227, 3), ("drama", 783, 1), ("dialogue", 442, 26)],
)
def test_the_sets_of_the_quickstart_are_what_they_were(name, documents, languages):
    found = samples.fetch(name)
    assert (found["documents"], found["unreadable"], len(found["languages"])) == (documents, 0, languages)


@pytest.mark.network
def test_the_language_model_is_the_pinned_one():
    data = samples.model_path("lid.176").read_bytes()
    assert hashlib.sha256(data).hexdigest() == samples.LID_176_SHA256


def test_a_converted_model_that_is_damaged_is_converted_again(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path))
    converted = []

    def convert(_, target):
        converted.append(target)
        target.mkdir(parents=True)
        (target / "model.safetensors").write_bytes(b"weights")
        write_text(models._digests_file(target), json.dumps(models._digests(target)))

    monkeypatch.setattr(models, "_convert", convert)
    weights = models.fetch("smollm2") / "model.safetensors"
    assert models.fetch("smollm2") == weights.parent and len(converted) == 1
    for harm in (lambda: weights.write_bytes(b"wfights"), weights.unlink):
        harm()
        models.fetch("smollm2")
        assert weights.read_bytes() == b"weights"
    assert len(converted) == 3


def test_asking_for_pip_leaves_distutils_to_setuptools():
    """It did not where pip was looked for as a module, and torch.compile failed in that process."""
    code = "from windtunnel.pipelines.samples.package_clients import has_pip; print(has_pip()); import setuptools"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
