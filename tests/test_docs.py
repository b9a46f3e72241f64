"""What the documentation tells a user to type works: each command is run with a tiny budget, each Python example, too.

A command with a part that is not known here fails: teach `Place` the new placeholder or `adapted` the new command.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch.distributed.run as torch_run
import yaml
from PIL import Image

from sparring import cli
from sparring.recipe import load_recipe, recipe_names, tomllib

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("sparring", "make", "pip", "python")
# sets that are downloaded, and small ones in their place
SMALL = {"mnist": "grey.npz", "small-mnist": "grey.npz", "cifar10": "colour.npz", "stacked-mnist": "colour.npz"}
TINY_COUNTS = {"evaluate": "64", "compare": "64", "sweep": "64"}
PRINTS = ("recipes", "list", "explain")  # commands that only print


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(info string, text) of each fenced block."""
    for block in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield block[1].strip(), block[2]


def commands_of(page: Path) -> Iterator[tuple[str, ...]]:
    """The commands of a page's shell and plain blocks, without comments; output is whatever begins otherwise."""
    for info, text in blocks(page):
        if info.split(" ")[0] not in ("", "bash", "sh", "console"):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ")
            if line.split(" ")[0] in PROGRAMS:
                yield from split(line)


def split(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line: comments and redirections end one, `;` and `&&` part them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set(";&|"):
            if words:
                yield tuple(words)
            words = []
        else:
            words.append(word)


INLINE = re.compile(r"`((?:make [a-z]|python -m benchmarks\.)[^`]*)`")


def inline_commands(page: Path) -> Iterator[tuple[str, ...]]:
    """The benchmarks and targets that the text names, such as what a table of results was made with."""
    for command in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        yield from split(" ".join(command.split()))


COMMANDS = sorted({command for page in PAGES for command in (*commands_of(page), *inline_commands(page))})
EXAMPLES = [
    (page, i, *block) for page in PAGES for i, block in enumerate(blocks(page)) if block[0].startswith("python")
]


class Place:
    """A folder with all that the documentation's commands name: images, pairs, masks, tables, runs, modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(0)
        for name, shape in {"grey.npz": (80, 28, 28), "colour.npz": (80, 32, 32, 3)}.items():
            labels = np.arange(80) % 10
            np.savez(folder / name, images=random.integers(0, 256, shape, dtype=np.uint8), labels=labels)
        for place in ("my-photos", "photos", "made-elsewhere", "pairs/A", "pairs/B", "streets/image"):
            self.images(place, "RGB")
        for place in ("faces/trainA", "faces/trainB", "faces/testA", "faces/testB"):
            self.images(place, "RGB")
        self.images("streets/mask", "L", high=3)
        shutil.make_archive(str(folder / "flowers"), "zip", folder / "my-photos")
        (folder / "shards").mkdir()
        for i in range(4):
            with tarfile.open(folder / f"shards/{i:04}.tar", "w") as shard:
                for path in sorted((folder / "my-photos").iterdir()):
                    shard.add(path, path.name)
        for name in ("photo.jpg", "small.jpg"):
            shutil.copy(next((folder / "photos").iterdir()), folder / name)
        Image.new("L", (72, 72), 255).save(folder / "hole.png")
        rows = [f"{i * 100},{1.3 * 0.8**i},{0.7 + 0.15 * i}" for i in range(40)]
        (folder / "losses.csv").write_text("\n".join(["step,d_loss,g_loss", *rows]))
        (folder / "mine.toml").write_text(load_recipe("digits").to_toml(), encoding="utf-8")
        for _page, _, info, text in EXAMPLES:
            if (title := title_of(info)) is not None:
                (folder / title).write_text(text, encoding="utf-8")
        self.runs: dict[str, str] = {}

    def images(self, place: str, mode: str, high: int = 256) -> None:
        """Twelve images of 72x72."""
        random = np.random.default_rng(1)
        (self.folder / place).mkdir(parents=True, exist_ok=True)
        for i in range(12):
            shape = (72, 72) if mode == "L" else (72, 72, 3)
            ending = "png" if "photos" not in place else "jpg"
            Image.fromarray(random.integers(0, high, shape, dtype=np.uint8), mode).save(
                self.folder / place / f"{i}.{ending}"
            )

    def run(self, kind: str) -> str:
        """A trained run of this kind, as a path relative to the folder; each is trained once."""
        if kind not in self.runs:
            trained = {
                "samples": ["digits", "--steps", "8", "--log-every", "1"],
                "other": ["digits", "--steps", "2", "--seed", "1"],
                "classes": ["mnist-conditional", "--data", "grey.npz", "--steps", "2"],
                "enlarge": ["super-resolution", "--steps", "2"],
                "enlarge-other": ["super-resolution", "--steps", "2", "--seed", "1"],
                "inpaint": ["inpaint", "--data", "photos/", "--steps", "2"],
                "cyclegan": ["cyclegan", "--data", "faces/", "--size", "16", "--batch-size", "1", "--steps", "2"],
                "own": ["digits", "--generator", "mynet.SmallGenerator()", "--trust", "--steps", "2"],
            }[kind]
            out = f"made/{kind}"
            assert call(["train", *trained, "--out", out, "--pictures", "1"]) == 0
            self.runs[kind] = out
        return self.runs[kind]

    def put(self, words: list[str]) -> list[str]:
        """The words with a real path for each placeholder. A path that stands for nothing known fails the test."""
        kind, other = self.kinds(words)
        placed: list[str] = []
        for i, word in enumerate(words):
            if i and words[i - 1] == "--out":
                placed.append(word)
            elif word in ("RUN", "FOLDER") or word.startswith("runs/"):
                again = any(w in placed for w in (self.runs.get(kind), kind))
                placed.append(self.run(other if again or words[i - 1] == "--blend" else kind))
            elif word in ("OTHER", "ANOTHER"):
                placed.append(self.run(other))
            else:
                placed.append("photo.jpg" if word == "IMAGE" else word)
        return placed

    def kinds(self, words: list[str]) -> tuple[str, str]:
        """Which kind of run a command is about, and which other one."""
        text = " ".join(words)
        for sign, kind in {"--label": "classes", "--mask": "inpaint", "--back": "cyclegan"}.items():
            if sign in words:
                return kind, "other"
        if words[0] == "apply" or "--on" in words or "runs/enlarge" in text:
            return "enlarge", "enlarge-other"
        return "own" if "runs/net" in text else "samples", "other"


def title_of(info: str) -> str | None:
    """The name of the file that a block is printed as."""
    found = re.search(r'title="([^"]+)"', info)
    return found[1] if found else None


def call(arguments: list[str]) -> int:
    """The command's exit status."""
    return cli.main(arguments)


LONGER = count(10)  # each resume of a shared run needs a larger budget


def adapted(words: list[str]) -> list[str]:
    """A command with a tiny budget: nothing of its other options is changed."""
    command = words[0]
    if command in ("train", "sweep"):
        return tiny_training(words)
    if command == "resume":
        return [*without(words, "--steps", "--minutes", "--wall-minutes"), "--steps", str(next(LONGER))]
    if command in TINY_COUNTS:
        return [*without(words, "--count"), "--count", TINY_COUNTS[command]]
    if command == "treat":
        return [*without(words, "--trials"), "--trials", "2"]
    assert command in (*PRINTS, "apply", "clinic", "data", "doctor", "sample"), f"teach this test the command {command}"
    return words


def tiny_training(words: list[str]) -> list[str]:
    command = words[0]
    recipe = words[1] if len(words) > 1 and not words[1].startswith("-") else "digits"
    budgets = ("--steps", "--minutes", "--wall-minutes")
    changed = without(words, *budgets, "--out", "--batch-size", "--evaluate-every", "--count", "--seeds")
    data = load_recipe(recipe).data if recipe in recipe_names() else ""
    small = SMALL.get(data) if "--data" not in words else None
    if command == "sweep":
        changed = [re.sub(r"^minutes=.*", "steps=2", word) for word in changed]
        fixed = ["steps=2", "pictures=1", *([f"data={small}"] if small else [])]
        fixed = [f for f in fixed if not any(word.startswith(f.split("=")[0] + "=") for word in changed)]
        return [*changed, "--count", "64", *(w for f in fixed for w in ("--set", f))]
    tiny = ["--steps", "2", "--pictures", "1", "--log-every", "1", "--batch-size", "4", "--evaluate-count", "64"]
    if "--evaluate-every" in words:
        tiny += ["--evaluate-every", "1"]
    if "--size" in words and "--fit" not in words:
        changed, tiny = without(changed, "--size"), [*tiny, "--size", "16"]
    return [*changed, *tiny, *(["--data", small] if small else [])]


def without(words: list[str], *options: str) -> list[str]:
    """The words without these options and their values."""
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        else:
            kept.append(word)
    return kept


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("docs"))


@pytest.fixture
def there(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place as the working folder, whose modules can be imported."""
    monkeypatch.chdir(place.folder)
    monkeypatch.syspath_prepend(str(place.folder))
    return place


SPARRING = [command for command in COMMANDS if command[0] == "sparring"]
CHECKED = [command for command in COMMANDS if command[0] != "sparring"]
NAMES = [shlex.join(command)[:90] for command in SPARRING]


@pytest.mark.slow
@pytest.mark.parametrize("command", SPARRING, ids=NAMES)
def test_commands_run(command: tuple[str, ...], there: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = list(command[1:])
    if words in (["--help"], ["COMMAND", "--help"]):
        words = ["train", "--help"]
    if "--help" in words:
        with pytest.raises(SystemExit) as left:
            call(words)
        assert left.value.code == 0
        return
    target = words[words.index(">") + 1] if ">" in words else ""
    words = words[: words.index(">")] if target else words
    if words[0] == "clinic":  # it trains a hundred runs; tests/test_clinic.py runs it
        assert cli._parser().parse_args(words)
        return
    status = call(adapted(there.put(words)))
    # the doctor's status 1 is a failure that it found; a treated run of two steps stays failing
    assert status in ((0, 1) if words[0] in ("doctor", "treat") else (0,)), capsys.readouterr().err


@pytest.mark.parametrize("command", CHECKED, ids=shlex.join)
def test_other_programs_exist(command: tuple[str, ...]) -> None:
    program, *words = command
    if program == "make":
        targets = re.findall(r"^([a-z.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words, "make needs a target"
        assert set(words) <= set(targets)
    elif program == "pip":
        assert words[0] == "install"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extras in re.findall(r"\[(.*?)\]", " ".join(words)):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
        assert words[-1] == "." or words[-1].split("[")[0] in (".", project["name"])
    else:
        assert words[0] == "-m", f"teach this test {shlex.join(command)}"
        if words[1] == "sparring":
            return
        assert words[1].startswith("benchmarks."), f"teach this test {shlex.join(command)}"
        module = importlib.import_module(words[1])
        assert callable(module.main)
        options = re.findall(r'add_argument\(\s*"(--[a-z-]+)"', Path(str(module.__file__)).read_text(encoding="utf-8"))
        for before, word in pairwise(words[1:]):
            if word.startswith("-"):
                assert word in options, f"{words[1]} does not know {word}"
            elif not before.startswith("-"):  # an argument; after an option, it is its value
                assert hasattr(module, "parse_version") or word in module.CONTESTS, f"{words[1]} does not know {word}"
                assert not hasattr(module, "parse_version") or module.parse_version(word)


def test_there_are_commands() -> None:
    assert len(SPARRING) > 40
    assert len(CHECKED) > 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "number", "info", "text"), EXAMPLES, ids=[f"{name_of(p)}-{i}" for p, i, *_ in EXAMPLES]
)
def test_examples_run(
    page: Path, number: int, info: str, text: str, there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if '"mnist"' in text:  # a set of the right shape in its place, with a part of it as the test set
        text = text.replace('load_data("mnist")', 'load_data("grey.npz")')
        text = text.replace('load_held_out("mnist")', 'load_held_out("grey.npz", held_out=0.4)').replace("128", "16")
    text = re.sub(r'out="[^"]*"', f"out={str(tmp_path / 'run')!r}", text)
    text = re.sub(r'log="[^"]*"', f"log={str(tmp_path / 'log')!r}", text)
    text = re.sub(r"steps=[\d_]+", "steps=2, batch_size=4, pictures=1", text)
    text = re.sub(r"size=64", "size=16", text)
    text = re.sub(r"\brun = sparring.load\(RUN\)", "run = sparring.load('made/samples')", text)
    there.run("samples")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(f"example_{number}", None))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    exec(compile(text, f"{name_of(page)}-{number}", "exec"), vars(module))


@pytest.mark.slow
def test_examples_type_check(tmp_path: Path) -> None:
    from sparring import _SHORT

    for page, number, info, text in EXAMPLES:
        for short, full in _SHORT.items():
            text = text.replace(f"from sparring.{short} import", f"from {full} import")
        (tmp_path / (title_of(info) or f"{page.stem.replace('-', '_')}_{number}.py")).write_text(text)
    files = sorted(str(path) for path in tmp_path.iterdir())
    options = ["--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *options, *files]
    environment = {**os.environ, "MYPYPATH": f"{ROOT / 'src'}:{tmp_path}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as both GitHub and the site spell them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"`", "", head)).strip().lower().replace(" ", "-") for head in found}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_site_lists_every_page() -> None:
    listed = re.findall(r"^ +- .*?: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)


def test_the_site_is_built_strictly_and_without_network() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert "http" not in settings
    assert not re.search(r"(@import|url\()", (ROOT / "docs" / "stylesheets" / "site.css").read_text(encoding="utf-8"))
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_reference_names_only_what_there_is() -> None:
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for dotted, members in re.findall(r"^::: (\S+)(?:\n +options: .*?members: \[(.*?)\])?", text, re.MULTILINE):
            module, _, name = dotted.rpartition(".")
            found = getattr(importlib.import_module(module), name, None) or importlib.import_module(dotted)
            assert [m for m in filter(None, members.split(", ")) if not hasattr(found, m)] == [], dotted


@pytest.mark.parametrize(
    "home", ["losses", "penalties", "networks", "tasks", "augment", "schedules", "turns", "optimizers"]
)
def test_the_reference_has_every_component(home: str) -> None:
    module = importlib.import_module(f"sparring.{home}")
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    assert [name for name in module.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_the_reference_has_every_option() -> None:
    spec = importlib.util.spec_from_file_location("hook", ROOT / "docs" / "tools" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    built = hook.on_page_markdown(page)
    assert hook.MARK not in built
    for name in cli.COMMANDS:
        assert f"\n## {name}\n" in built
    for option in ("--loss", "--patience", "--metrics", "--against", "--trials"):
        assert f"`{option} " in built


SCALING = ROOT / "docs" / "scaling.md"


def torchrun_commands() -> Iterator[list[str]]:
    """The words after `torchrun` in the page's job files and commands, with shell variables as they are written."""
    for info, text in blocks(SCALING):
        if info == "yaml":
            job = next(part for part in yaml.safe_load_all(text) if part["kind"] == "Job")
            (container,) = job["spec"]["template"]["spec"]["containers"]
            assert container["command"] == ["torchrun"]
            yield container["args"]
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if "torchrun " in line:
                yield shlex.split(line.partition("torchrun ")[2])


def test_job_files_start_workers_that_train() -> None:
    """torchrun takes the options of each job file, and sparring the words after it; a restarted run is found again."""
    found = [*torchrun_commands()]
    assert len(found) == 3, "a command, a Slurm file and a Kubernetes file"
    for words in found:
        options = [word.replace("$SLURM_NNODES", "2") for word in words]
        parsed = torch_run.parse_args(options)
        assert (parsed.module, parsed.training_script) == (True, "sparring")
        chosen = cli._parser().parse_args(parsed.training_script_args)
        assert load_recipe(chosen.recipe).replace(batch_size=chosen.batch_size or 64).batch_size % 16 == 0
        assert chosen.out is not None, "restarts need --out"
        assert parsed.max_restarts == 3


def test_slurm_file() -> None:
    (text,) = (text for _, text in blocks(SCALING) if "#SBATCH" in text)
    assert text.startswith("#!")
    options = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).returncode == 0
