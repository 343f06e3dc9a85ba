"""Models on disk: saved, found, pulled and verified; whole or not at all, whatever the source, whoever else pulls."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from torch.testing import assert_close

from cnnreg.config import Config, InputConfig, NetworkConfig
from cnnreg.errors import ModelError
from cnnreg.learning import modelplaces, modelstore
from cnnreg.learning.modelcards import CARD, WEIGHTS, load_model, load_network, save_model
from cnnreg.learning.modelplaces import available, cache_folder, find, shipped_folder
from cnnreg.learning.modelstore import pull
from cnnreg.learning.network import RegistrationNetwork, build_network
from tests.conftest import SIZE, Ended, save_tiny_model, smooth_pair, tree

CLI = Callable[..., Ended]


def weights_of(network: RegistrationNetwork) -> dict[str, torch.Tensor]:
    return dict(network.named_parameters())


# saving and loading


def test_a_saved_model_is_the_model(tmp_path: Path) -> None:
    """Weights, architecture and treatment of the input come back bit for bit, and so do predictions."""
    config = Config(network=NetworkConfig(pooling=1, channels=(4, 8, 6)), input=InputConfig(low=2, high=98))
    network = build_network(config.network, seed=3).eval()
    save_model(network, tmp_path / "m", config, name="m", description="d", metrics={"dsc": 0.5}, license="CC0")
    model = load_model(tmp_path / "m")
    assert weights_of(model.network).keys() == weights_of(network).keys()
    for name, weights in weights_of(network).items():
        assert torch.equal(weights_of(model.network)[name], weights), name
    assert (model.card.network, model.card.input) == (config.network, config.input)
    assert (model.card.metrics, model.card.license) == ({"dsc": 0.5}, "CC0")
    assert not model.network.training
    fixed, moving = (torch.from_numpy(image)[None, None] for image in smooth_pair())
    assert_close(model.network(fixed, moving), network(fixed, moving), rtol=0, atol=0)


def test_a_card_tells_what_the_model_is(tiny_model: Path) -> None:
    """The card has every key that a reader looks for, and the hash of the very weights beside it."""
    card = json.loads((tiny_model / CARD).read_text())
    assert set(card) == {
        "name", "description", "network", "input", "sha256", "training", "metrics", "license", "versions", "format",
        "kind",
    }  # fmt: skip
    assert card["sha256"] == hashlib.sha256((tiny_model / WEIGHTS).read_bytes()).hexdigest()
    assert card["network"] == {"pooling": 1, "channels": [4, 8]}
    assert set(card["input"]) == {"low", "high", "max_size"}
    assert set(card["versions"]) == {"cnnreg", "torch"}
    assert sorted(path.name for path in tiny_model.iterdir()) == [CARD, WEIGHTS]


def test_info_prints_the_card(tiny_model: Path, cli: CLI) -> None:
    """``models info`` is the card, as JSON."""
    ended = cli("models", "info", tiny_model)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == json.loads((tiny_model / CARD).read_text())


# finding


def test_a_model_is_found_by_name_and_by_path(cache: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name leads to the cache; a path, absolute or relative, to that folder."""
    cached = save_tiny_model(cache / "mine")
    monkeypatch.chdir(tiny_model.parent)
    assert find("mine") == cached
    assert find(str(tiny_model)) == tiny_model
    assert load_model(find("./tiny")).card.sha256 == load_model(tiny_model).card.sha256


def test_a_folder_here_does_not_shadow_a_model_of_the_same_name(
    cache: Path, tmp_path: Path, cli: CLI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name means must not depend on the folder that one happens to stand in."""
    cached = save_tiny_model(cache / "tiny", seed=1)
    save_tiny_model(tmp_path / "work" / "tiny", seed=2)
    monkeypatch.chdir(tmp_path / "work")
    assert find("tiny") == cached
    assert find("./tiny").resolve() == tmp_path / "work" / "tiny"
    assert cli("models", "path", "tiny").out == f"{cached}\n"


def test_the_cache_hides_a_shipped_model(
    cache: Path, tmp_path: Path, cli: CLI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are listed once each by name, and a name that is in both places means the cache's."""
    monkeypatch.setattr(modelplaces, "shipped_folder", lambda: tmp_path / "shipped")
    save_tiny_model(tmp_path / "shipped" / "both", seed=1)
    save_tiny_model(tmp_path / "shipped" / "shipped-only", seed=1)
    save_tiny_model(cache / "both", seed=2)
    save_tiny_model(cache / "cache-only", seed=2)
    listed = json.loads(cli("models", "list", "--json").out)
    assert {name: Path(entry["path"]).parent for name, entry in listed.items()} == {
        "both": cache,
        "cache-only": cache,
        "shipped-only": tmp_path / "shipped",
    }
    table = {line.split()[0]: line.split()[1] for line in cli("models", "list").out.splitlines()[1:]}
    assert table == {"both": "cache", "cache-only": "cache", "shipped-only": "shipped"}


def test_the_cache_folder_is_read_when_used(tmp_path: Path, cli: CLI, monkeypatch: pytest.MonkeyPatch) -> None:
    """CNNREG_CACHE counts as it is now, not as it was at import; without it, the system's own cache folder."""
    for name in ("one", "two"):
        monkeypatch.setenv("CNNREG_CACHE", str(tmp_path / name))
        assert cache_folder() == tmp_path / name / "models"
        assert cli("models", "path").out == f"{tmp_path / name / 'models'}\n"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNNREG_CACHE", "~/three")
    assert cache_folder() == tmp_path / "three" / "models"
    for unset in ("", None):
        monkeypatch.delenv("CNNREG_CACHE") if unset is None else monkeypatch.setenv("CNNREG_CACHE", unset)
        assert cache_folder() == platformdirs.user_cache_path("cnnreg") / "models"


def test_what_a_killed_pull_leaves_is_no_model(cache: Path, cli: CLI) -> None:
    """A half-filled folder is neither listed nor verified nor found."""
    save_tiny_model(cache / "tiny")
    remains = save_tiny_model(cache / ".partial-tiny-abc")
    (remains / WEIGHTS).write_bytes(b"half")
    assert ".partial-tiny-abc" not in available()
    assert cli("models", "verify", "tiny").code == 0
    assert "partial" not in cli("models", "verify").out + cli("models", "list").out


# pulling


def test_every_shipped_model_can_be_pulled_and_used(cache: Path, cli: CLI) -> None:
    """The shipped models are whole, and a pull copies them byte for byte."""
    names = [folder.name for folder in shipped_folder().iterdir() if (folder / CARD).is_file()]
    if not names:
        pytest.skip(f"no model ships yet: {shipped_folder()} holds none")
    for name in names:
        assert cli("models", "pull", name, "--offline").code == 0
        assert tree(cache / name) == {
            file: content for file, content in tree(shipped_folder() / name).items() if file in {CARD, WEIGHTS}
        }
        assert find(name) == cache / name
        assert load_network(find(name))[0].name == name


def test_the_hashes_of_shipped_models_are_known_beforehand(cache: Path, tmp_path: Path, cli: CLI) -> None:
    """Another model under such a name, whole and with a card that fits it, is refused; under its own it is welcome."""
    shipped = {
        folder.parent.name: json.loads(folder.read_text())["sha256"] for folder in shipped_folder().glob("*/card.json")
    }
    assert shipped == modelplaces.SHIPPED
    for name in ("chest-xray", "mine"):
        save_tiny_model(tmp_path / "source" / name, seed=1)
    ended = cli("models", "pull", "chest-xray", "--source", tmp_path / "source")
    assert (ended.code, "another model under the name chest-xray" in ended.err) == (1, True), ended.err
    assert not (cache / "chest-xray").exists()
    assert cli("models", "pull", "mine", "--source", tmp_path / "source").code == 0


def test_pull_from_a_folder(cache: Path, tmp_path: Path, cli: CLI) -> None:
    """The copy is whole, lies where the command says, can be read by all users, and is used by its name."""
    save_tiny_model(tmp_path / "source" / "tiny", seed=4)
    ended = cli("models", "pull", "tiny", "--source", tmp_path / "source")
    assert (ended.code, ended.out, ended.err) == (0, f"tiny: {cache / 'tiny'}\n", "")
    assert tree(cache) == tree(tmp_path / "source")
    assert find("tiny") == cache / "tiny"
    assert (cache / "tiny").stat().st_mode & 0o777 == 0o755


@dataclass
class Server:
    """A folder served over HTTP on this machine, with faults by path."""

    folder: Path
    url: str = ""
    faults: dict[str, str] = field(default_factory=dict)  # "/tiny/card.json" -> cut, chunks or missing
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves tmp_path/served, where tests put models."""
    state = Server(tmp_path / "served")
    state.folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(state.folder))

        def do_GET(self) -> None:
            state.asked.append(self.path)
            fault = state.faults.get(self.path)
            self.close_connection = True
            if fault is None:
                super().do_GET()
            elif fault == "missing":
                self.send_error(404)
            else:  # the connection breaks off in the middle of the file
                content = (state.folder / self.path.lstrip("/")).read_bytes()
                half = content[: len(content) // 2]
                self.send_response(200)
                if fault == "cut":
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(half)
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"%x\r\n" % len(content) + half)

        def log_message(self, *arguments: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize("slash", ["", "/"])
def test_pull_over_http(slash: str, server: Server, cache: Path, cli: CLI) -> None:
    """A model is fetched once; a second pull finds it in the cache and asks nobody."""
    save_tiny_model(server.folder / "tiny")
    for _ in range(2):
        assert cli("models", "pull", "tiny", "--source", server.url + slash).code == 0
    assert tree(cache) == tree(server.folder)
    assert server.asked == [f"/tiny/{CARD}", f"/tiny/{WEIGHTS}"]


def test_overwrite_fetches_again(server: Server, cache: Path, cli: CLI) -> None:
    """--overwrite replaces the cached model by what the source has now."""
    save_tiny_model(server.folder / "tiny", seed=1)
    pull("tiny", source=server.url)
    save_tiny_model(server.folder / "tiny", seed=2)
    pull("tiny", source=server.url)
    assert tree(cache) != tree(server.folder)
    assert cli("models", "pull", "tiny", "--source", server.url, "--overwrite").code == 0
    assert tree(cache) == tree(server.folder)


def spoil_nothing(folder: Path) -> None:
    pass


def cut_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-64])


def alter_weights(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-3] ^= 4
    (folder / WEIGHTS).write_bytes(content)


def cut_card(folder: Path) -> None:
    (folder / CARD).write_text((folder / CARD).read_text()[:-40])


def empty_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


@pytest.mark.parametrize("cached", [False, True], ids=["fresh", "over a good one"])
@pytest.mark.parametrize(
    ("spoil", "faults", "fragments"),
    [
        pytest.param(cut_weights, {}, (WEIGHTS, "truncated or altered"), id="truncated weights"),
        pytest.param(alter_weights, {}, (WEIGHTS, "truncated or altered"), id="altered weights"),
        pytest.param(empty_weights, {}, (WEIGHTS, "truncated or altered"), id="empty weights"),
        pytest.param(cut_card, {}, (CARD, "not a valid model card"), id="truncated card"),
        pytest.param(spoil_nothing, {WEIGHTS: "cut"}, (WEIGHTS,), id="connection breaks off"),
        pytest.param(spoil_nothing, {WEIGHTS: "chunks"}, (WEIGHTS,), id="connection breaks off in a chunk"),
        pytest.param(spoil_nothing, {CARD: "cut"}, (CARD,), id="connection breaks off in the card"),
        pytest.param(spoil_nothing, {WEIGHTS: "missing"}, (WEIGHTS, "Not Found"), id="no weights"),
        pytest.param(spoil_nothing, {CARD: "missing"}, (CARD, "Not Found"), id="no card"),
    ],
)
def test_a_bad_download_is_named_and_leaves_nothing(
    spoil: Callable[[Path], None],
    faults: dict[str, str],
    fragments: tuple[str, ...],
    cached: bool,
    *,
    server: Server,
    cache: Path,
    cli: CLI,
) -> None:
    """One sentence names the model and the file; the cache is as it was, down to a good model that it held before."""
    if cached:
        save_tiny_model(cache / "tiny", seed=1)
    spoil(save_tiny_model(server.folder / "tiny", seed=2))
    server.faults = {f"/tiny/{file}": fault for file, fault in faults.items()}
    before = tree(cache)
    ended = cli("models", "pull", "tiny", "--source", server.url, "--overwrite")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    for fragment in ("tiny", *fragments):
        assert fragment in ended.err
    assert tree(cache) == before


def test_a_damaged_copy_in_the_cache_is_named_and_can_be_replaced(tmp_path: Path, cache: Path, cli: CLI) -> None:
    """A pull does not take a damaged copy for a good one; with --overwrite it mends it."""
    save_tiny_model(tmp_path / "source" / "tiny")
    cut_weights(save_tiny_model(cache / "tiny"))
    ended = cli("models", "pull", "tiny", "--source", tmp_path / "source")
    assert ended.code == 1
    assert "damaged tiny" in ended.err
    assert "--overwrite" in ended.err
    assert cli("models", "pull", "tiny", "--source", tmp_path / "source", "--overwrite").code == 0
    assert tree(cache) == tree(tmp_path / "source")


def test_offline_by_option_and_by_environment(
    server: Server, cache: Path, tmp_path: Path, cli: CLI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forbid the network, and nothing else: folders still work, and CNNREG_OFFLINE=0 forbids nothing."""
    save_tiny_model(server.folder / "tiny")
    refused = cli("models", "pull", "tiny", "--source", server.url, "--offline")
    monkeypatch.setenv("CNNREG_OFFLINE", "1")
    refused_too = cli("models", "pull", "tiny", "--source", server.url)
    for ended in (refused, refused_too):
        assert ended.code == 1
        assert "offline" in ended.err
    assert server.asked == []
    assert not cache.exists()
    assert cli("models", "pull", "tiny", "--source", server.folder, "--offline").code == 0
    monkeypatch.setenv("CNNREG_OFFLINE", "0")
    assert cli("models", "pull", "tiny", "--source", server.url, "--overwrite").code == 0
    assert len(server.asked) == 2


PULLER = """
import sys, time
from pathlib import Path
from cnnreg.learning.modelcards import load_model
from cnnreg.learning.modelplaces import find
from cnnreg.learning.modelstore import pull

url, signals, me = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
(signals / me).touch()
while not (signals / "go").exists():
    time.sleep(0.001)
for i in range(12):  # each name is a race of its own, and who has pulled a model uses it at once
    pull(f"m{i}", source=url)
    load_model(find(f"m{i}"))
for i in range(12):  # a model that nobody else is using
    pull("m12", source=url, overwrite=True)
"""


def test_jobs_that_pull_at_once_do_not_disturb_each_other(server: Server, cache: Path, tmp_path: Path) -> None:
    """Every job succeeds and can use what it pulled; one whole model of each name is left, and nothing else."""
    for i in range(13):
        save_tiny_model(server.folder / f"m{i}", seed=i)
    (tmp_path / "signals").mkdir()
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", PULLER, server.url, str(tmp_path / "signals"), f"job{number}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        while len(list((tmp_path / "signals").iterdir())) < 3 and all(job.poll() is None for job in jobs):
            threading.Event().wait(0.01)
        (tmp_path / "signals" / "go").touch()
        complaints = [job.communicate()[1] for job in jobs]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    assert "\n".join(complaints).strip() == ""
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert tree(cache) == tree(server.folder)


def test_a_job_that_comes_second_keeps_the_model_of_the_first(tmp_path: Path, cache: Path, monkeypatch: Any) -> None:
    """A model that appears while another job pulls is not taken away from under its reader."""
    save_tiny_model(tmp_path / "source" / "tiny")
    verify = modelstore.verify

    def verify_late(folder: Path) -> Any:
        card = verify(folder)
        if not (cache / "tiny").exists():  # the other job is first by a hair
            save_tiny_model(cache / "tiny")
            verify_late.inode = (cache / "tiny").stat().st_ino
        return card

    monkeypatch.setattr(modelstore, "verify", verify_late)
    assert pull("tiny", source=str(tmp_path / "source")) == cache / "tiny"
    assert (cache / "tiny").stat().st_ino == verify_late.inode
    assert [path.name for path in cache.iterdir()] == ["tiny"]


def test_two_jobs_may_replace_the_same_model(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --overwrite, the old model may be moved away by another job at any moment; that is no error."""
    save_tiny_model(tmp_path / "source" / "tiny", seed=1)
    save_tiny_model(cache / "tiny", seed=2)
    rename = Path.rename

    def rename_while_another_job_works(path: Path, target: Path) -> Path:
        try:
            return rename(path, target)
        except OSError:
            shutil.rmtree(cache / "tiny")
            raise

    monkeypatch.setattr(Path, "rename", rename_while_another_job_works)
    pull("tiny", source=str(tmp_path / "source"), overwrite=True)
    assert tree(cache) == tree(tmp_path / "source")


@contextmanager
def powerless() -> Iterator[None]:
    """Without the rights of root, whom no file mode keeps from writing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="file modes of Unix")
def test_a_read_only_cache_can_be_used(cli: CLI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared cache that one may not write to serves its models; pulling another one into it is a clear error."""
    with tempfile.TemporaryDirectory() as shared:  # pytest's own folders are closed to other users
        save_tiny_model(Path(shared, "models", "tiny"))
        for name in ("tiny", "other"):
            save_tiny_model(Path(shared, "source", name))
        for folder in (Path(shared, "models", "tiny"), Path(shared, "models"), Path(shared)):
            folder.chmod(0o555)
        monkeypatch.setenv("CNNREG_CACHE", shared)
        source = ("--source", f"{shared}/source")
        commands = [("verify", "tiny"), ("pull", "tiny", *source), ("info", "tiny"), ("list",)]
        try:
            for command in commands:  # with every right first: what is imported late is then at hand
                assert cli("models", *command).code == 0
            before = tree(Path(shared))
            with powerless():
                with pytest.raises(PermissionError):
                    Path(shared, "models", "try").touch()
                ended = [cli("models", *command) for command in commands]
                refused = cli("models", "pull", "other", *source)
            assert [(e.code, e.err) for e in ended] == [(0, "")] * 4
            assert refused.code == 1
            assert "cannot write to the model cache" in refused.err
            assert "CNNREG_CACHE" in refused.err
            assert tree(Path(shared)) == before
        finally:
            for folder in (Path(shared), Path(shared, "models"), Path(shared, "models", "tiny")):
                folder.chmod(0o755)


# adding and verifying


def test_add_gives_a_model_a_name(tiny_model: Path, cache: Path, cli: CLI) -> None:
    """The copy has the name in its card, the same weights, and is found by it; the original stays as it is."""
    before = tree(tiny_model)
    assert cli("models", "add", tiny_model, "--name", "heart.v2").code == 0
    card = load_model(find("heart.v2")).card
    assert card.name == "heart.v2"
    assert (cache / "heart.v2" / WEIGHTS).read_bytes() == before[WEIGHTS]
    assert tree(tiny_model) == before
    assert cli("models", "add", tiny_model).code == 0
    assert find("tiny") == cache / "tiny"


def test_add_replaces_only_when_told_to(tmp_path: Path, cache: Path, cli: CLI) -> None:
    """A name that is taken is kept, unless --overwrite says otherwise."""
    save_tiny_model(cache / "tiny", seed=1)
    other = save_tiny_model(tmp_path / "other", seed=2)
    before = tree(cache)
    assert cli("models", "add", other, "--name", "tiny").code == 2
    assert tree(cache) == before
    assert cli("models", "add", other, "--name", "tiny", "--overwrite").code == 0
    assert (cache / "tiny" / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    assert [path.name for path in cache.iterdir()] == ["tiny"]


def test_verify_tells_good_from_bad(cache: Path, cli: CLI) -> None:
    """Every good model is reported on stdout, every bad one named on stderr, and one bad one makes the exit code 1."""
    save_tiny_model(cache / "good")
    ended = cli("models", "verify", "good")
    assert (ended.code, ended.out, ended.err) == (0, "good: good\n", "")
    alter_weights(save_tiny_model(cache / "altered"))
    cut_card(save_tiny_model(cache / "clipped"))
    ended = cli("models", "verify", "altered", "good", "clipped")
    assert (ended.code, ended.out) == (1, "good: good\n")
    assert f"{cache / 'altered' / WEIGHTS} is truncated or altered" in ended.err
    assert f"{cache / 'clipped' / CARD} is not a valid model card" in ended.err
    assert "2 model(s) failed: altered, clipped" in ended.err
    every = cli("models", "verify")
    assert every.code == 1
    assert "good: good\n" in every.out


def test_weights_that_fit_their_hash_but_not_their_card_are_refused(tiny_model: Path) -> None:
    """The hash alone is not enough: the network that the card describes must take the weights."""
    card = json.loads((tiny_model / CARD).read_text())
    for channels in ([4, 16], [4], [4, 8, 16]):
        (tiny_model / CARD).write_text(json.dumps(card | {"network": {"pooling": 1, "channels": channels}}))
        with pytest.raises(ModelError, match="does not fit the weights"):
            load_model(tiny_model)


def test_an_adapted_model_is_used_at_once(
    tiny_model: Path, pair_files: tuple[Path, Path], tmp_path: Path, cache: Path, cli: CLI
) -> None:
    """By path as soon as it is written, by name as soon as it is added; both give the same field."""
    options = ("--device", "cpu", "--quiet")
    assert cli("adapt", *pair_files, "-m", tiny_model, "--steps", 2, "-o", tmp_path / "adapted", *options).code == 0
    assert cli("models", "add", tmp_path / "adapted", "--name", "mine").code == 0
    fields = []
    for number, model in enumerate((tmp_path / "adapted", "mine", tiny_model)):
        assert cli("register", *pair_files, "-m", model, "-a", 0, "-o", tmp_path / f"out{number}", *options).code == 0
        fields.append((tmp_path / f"out{number}" / "field.mha").read_bytes())
    assert fields[0] == fields[1]
    assert fields[0] != fields[2]
    assert load_model(tmp_path / "adapted").card.training["base"] == "tiny"


def test_prediction_does_not_depend_on_where_the_model_lies(tiny_model: Path, cache: Path) -> None:
    """The same weights under another name predict the same field."""
    modelstore.add(tiny_model, "copy")
    images = [torch.from_numpy(image)[None, None] for image in smooth_pair(SIZE)]
    assert torch.equal(load_model(tiny_model).network(*images), load_model(find("copy")).network(*images))


def test_a_damaged_model_does_not_hide_the_others(cli, cache):
    """models list names it as damaged, and still lists the rest."""
    save_tiny_model(cache / "good", name="good")
    save_tiny_model(cache / "bad", name="bad")
    (cache / "bad" / "card.json").write_text("{")
    ended = cli("models", "list", "--json")
    assert ended.code == 0
    rows = json.loads(ended.out)
    assert rows["good"]["what"] == "random, for tests"
    assert rows["bad"]["what"].startswith("DAMAGED")
    assert rows["good"]["from"] == "cache"
