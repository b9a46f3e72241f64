"""The command line: exit statuses, one clear line for each mistake, interruption, a full disk, and what it writes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from safetensors.numpy import load_file, save_file

from sparring.base.version import __version__
from sparring.cli import COMMANDS, main
from sparring.commands.train import EPILOG
from sparring.recipe import GROUPS, Recipe, field_names, load_recipe, parse_recipe, recipe_names

Refused = Callable[..., str]
DEADLINE = 120


def tiny_options(**changes: object) -> list[str]:
    values = {**TINY, **changes}
    return [text for name, value in values.items() for text in ("--" + name.replace("_", "-"), str(value))]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sparring", *map(str, arguments)]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def damage(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# ------------------------------------------------------------------------------------------- without a run


WITHOUT_TORCH = [
    [],
    ["--help"],
    ["trian"],
    ["train", "--help"],
    ["recipes"],
    ["recipes", "digits"],
    ["list", "--help"],
    ["list", "recipes"],
    ["list", "fields", "--json"],
    ["explain", "--help"],
]


@pytest.mark.parametrize("arguments", WITHOUT_TORCH, ids=" ".join)
def test_help_and_recipes_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from sparring.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'PIL', 'rich', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_help_names_every_command_and_field(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in COMMANDS:
        assert re.search(rf"^ +{word} +\w", text, re.MULTILINE), word
    for name in field_names():
        assert re.search(rf"^ +--{name.replace('_', '-')}[ ,]", text, re.MULTILINE), name


def test_no_command_prints_the_help_and_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: sparring ")
    steps = re.findall(r"^  sparring (\w+)(?: runs/digits-001)?  +\w", text.split("first steps:\n")[1], re.MULTILINE)
    assert steps == ["train", "doctor", "list"]


def test_the_help_of_train_groups_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    parts = re.split(r"^(\w+) \((.*)\):$", text.partition("\nexamples:")[0], flags=re.MULTILINE)
    assert dict(zip(parts[1::3], parts[2::3])) == GROUPS
    for group, options in zip(parts[1::3], parts[3::3]):
        shown = re.findall(r"^  --([\w-]+)", options, re.MULTILINE)
        fields = [f.name for f in dataclasses.fields(Recipe) if f.metadata["group"] == group]
        assert shown == [name.replace("_", "-") for name in fields]
    for part in (
        "--loss LOSS",
        "--penalties PENALTIES",
        "--steps N",
        "--minutes X",
        "--wall-minutes X",
        "--fit {crop,pad,stretch,patch}",
    ):
        assert re.search(rf"^  {re.escape(part)}\b|^  {re.escape(part)}$", text, re.MULTILINE), part
    assert re.search(r"default:\s+NonSaturating\(\)", text)


def test_the_examples_in_the_help_of_train_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[Recipe] = []

    def train(recipe: str, out: object, trust: bool, **changes: object) -> Path:
        typed.append(load_recipe(recipe).replace(**changes))
        return Path()

    monkeypatch.setattr("sparring.training.train.train", train)
    monkeypatch.setattr("sparring.commands.train.report_trained", lambda path: 0)
    examples = EPILOG.partition("\n\n")[0].splitlines()[1:]
    for line in examples:
        assert main(shlex.split(line)[1:]) == 0
    assert len(typed) == len(examples) == 3
    assert typed[-1].penalties == "GradientPenalty(weight=10)"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"sparring {__version__}\n"


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == recipe_names()
    assert main(["recipes", "digits"]) == 0
    assert parse_recipe(capsys.readouterr().out, "test") == load_recipe("digits")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    for unbuffered in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        arguments = command("recipes", "digits")
        result = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, env=environment, timeout=DEADLINE)
        assert (result.returncode, result.stderr) == (0, b"")
    os.close(write)


MISTAKES: list[tuple[list[str], str]] = [
    (["--foo"], "no option --foo.*sparring --help"),
    (["trian"], "invalid choice: 'trian'"),
    (["train", "digist"], "no recipe 'digist': did you mean 'digits'"),
    (["train", "no/such/recipe.toml"], "no recipe 'no/such/recipe.toml'"),
    (["train", "a" * 5000], "no recipe 'aaa"),
    (["recipes", "digist"], "no recipe 'digist': did you mean 'digits'"),
    (["train", "--stpes", "5"], "no option --stpes: did you mean '--steps'"),
    (["train", "--stpes=5"], "no option --stpes.*did you mean '--steps'"),
    (["sample", "x", "--out", "x.png", "--cuont", "5"], "no option --cuont: did you mean '--count'"),
    (["train", "digits", "mnist"], "unexpected argument 'mnist'"),
    (["train", "digits", ""], "unexpected argument ''"),
    (["train", "--step", "5"], "no option --step: did you mean '--steps'"),
    (["train", "--steps"], "--steps: expected one argument"),
    (["train", "--steps", "many"], "--steps: invalid int value: 'many'"),
    (["train", "--steps", "1.5"], "--steps: invalid int value: '1.5'"),
    (["train", "--steps", "-5"], "steps=-5 must be a whole number, at least 0"),
    (["train", "--steps", "0"], "steps=0, minutes=0 and wall_minutes=0 leave no budget"),
    (["train", "--steps", "9" * 400], "steps=9999"),
    (["train", "--minutes", "nan"], "minutes=nan must be a number, at least 0"),
    (["train", "--batch-size", "0"], "batch_size=0 must be a whole number, at least 1"),
    (["train", "--micro-batches", "7"], "batch_size=64 cannot be cut into .*7"),
    (["train", "--precision", "fp64"], "precision='fp64'; .*[Aa]llowed are auto, bf16, fp32"),
    (["train", "--device", "tpu"], "device='tpu'; .*[Aa]llowed are auto, cpu, cuda, mps"),
    (["train", "--loss", "Hingee()"], "unknown component 'Hingee'.*did you mean 'Hinge'"),
    (["train", "--loss", ""], "cannot be read"),
    (["train", "--penalties", "R1(wieght=5)"], "no field 'wieght': did you mean 'weight'"),
    (["train", "--penalties", "R1(weight=-5)"], "R1: weight=-5 must be a number, at least 0"),
    (["train", "--penalties", "Cosine(5, 1)"], r"unknown component 'Cosine'"),
    (["train", "--loss", r'Hinge("\d")'], "Hinge in .*too many positional arguments"),
    (["train", "--loss", "os.system('true')"], "would run code of 'os.system'.*--trust"),
    (["train", "--loss", "no_such.Loss()", "--trust"], "'no_such.Loss' .*cannot be imported"),
    (["train", "--generator", "MLPGenerator(hidden=5)"], r"MLPGenerator: hidden=5 must be the layers' widths"),
    (["train", "--generator", "MLPGenerator(hidden=(5, 0))"], "hidden=0 must be a whole number, at least 1"),
    (["train", "--generator", "MLPDiscriminator()"], "MLPDiscriminator in "),
    (["train", "--discriminator", "MLPGenerator()"], "MLPGenerator in "),
    (["train", "--generator-optimizer", "Adam(lr=0)"], "Adam: lr=0 must be a number, above 0"),
    (["train", "--generator-optimizer", "Adam(betas=(0.5, 1))"], r"betas=\(0.5, 1\) must be below 1"),
    (["train", "--turns", "Alternating(n_critic=0)"], "n_critic=0 must be a whole number, at least 1"),
    (["train", "--task", "Generate(latent=Cosine())"], "Generate: latent=Cosine.*write Normal"),
    (["train", "--data", "digist"], "no data 'digist': did you mean 'digits'"),
    (
        ["train", "--data", "ring", "--generator", "DCGANGenerator()"],
        r"needs images \[C, H, W\], and the data has shape \[2\]; use an MLP",
    ),
    (["train", "--data", "digits", "--size", "9"], "has the fixed shape"),
    (["resume", "no/such/run"], "no/such/run is not a run directory: it has no recipe.toml"),
    (["resume", "."], "is not a run directory: it has no recipe.toml"),
    (["sample", "no/such/run", "--out", "x.png"], "no/such/run is not a run"),
    (["sample", "no/such/run"], "required: --out"),
    (["doctor"], "doctor needs either a run or a log: .*--csv FILE"),
    (["evaluate"], "evaluate needs either runs or images .*--images PATH --against DATA"),
    (["evaluate", "--images", "x", "--against", "digits", "--raw"], "--raw and --checkpoint are for runs"),
    (["explain"], "required: name"),
    (["explain", "no-such-name"], "nothing is called 'no-such-name'; .*sparring list"),
    (["list", "no-such-kind"], "kind='no-such-kind'.*losses"),
    (["data", "no/such/data"], "no data 'no/such/data'"),
    (["data", "digits", "--size", "big"], "size='big' is no image size; write 64"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), MISTAKES, ids=lambda v: " ".join(v)[:60] if isinstance(v, list) else ""
)
def test_mistakes(
    arguments: list[str], message: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(*arguments))
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


def test_a_mistake_in_a_recipe_file_names_the_file(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("stpes = 5")
    assert re.search(r"mine.toml: .*no field 'stpes': did you mean 'steps'", refused("train", path))
    path.write_text("steps = ")
    assert re.search(r"mine.toml is not TOML: .*Invalid value", refused("train", path))


@pytest.mark.parametrize("made", [["x.txt"], ["recipe.toml"]])
def test_an_out_that_exists(made: list[str], refused: Refused, tmp_path: Path) -> None:
    for name in made:
        (tmp_path / name).write_text("")
    message = refused("train", "--out", tmp_path, *tiny_options())
    assert f"{tmp_path} exists already" in message
    assert ("sparring resume" if made == ["recipe.toml"] else "choose another --out") in message
    assert sorted(p.name for p in tmp_path.iterdir()) == made


def test_an_out_that_cannot_be_written(refused: Refused, tmp_path: Path, tiny_run: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "run"
    assert f"cannot write {below}" in refused("train", "--out", below, *tiny_options())
    for name in ("x.png", "x.npy", "folder"):
        assert f"cannot write {below}" in refused("sample", tiny_run, "--count", 2, "--out", below / name)
    assert f"cannot write {below}" in refused("data", "digits", "--out", below / "x.png")
    assert "exists already" in refused("train", "--out", tmp_path / "file", *tiny_options())


# ------------------------------------------------------------------------------------------------ with a run


def test_train_then_resume(tmp_path: Path, capfd: pytest.CaptureFixture[str], refused: Refused) -> None:
    run = tmp_path / "deep" / "run"
    assert main(["train", "--out", str(run), *tiny_options(steps=4)]) == 0
    reported = capfd.readouterr()
    assert f"sparring resume {run} --steps 8" in reported.out
    assert f"Training in {run} on 1,797 samples of digits (4 steps, fp32)" in reported.err
    assert "sparring resume" in refused("resume", run), "the budget is spent"
    assert main(["resume", str(run), "--steps", "6"]) == 0
    assert json.loads((run / "checkpoints" / "step-000000006.json").read_text())["step"] == 6
    for name in ("recipe.toml", "data.json", "environment.json", "log.jsonl", "summary.md", "curves.png"):
        assert (run / name).stat().st_size > 0


def test_the_default_place_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *tiny_options(steps=1)]) == 0
    assert main(["train", *tiny_options(steps=1)]) == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["digits-001", "digits-002"]


def test_sample_a_picture(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "x.png"
    assert main(["sample", str(tiny_run), "--count", "5", "--out", str(out)]) == 0
    assert "5 samples of step 20" in capsys.readouterr().out
    image = Image.open(out)
    assert (image.format, image.mode) == ("PNG", "L")
    assert image.width / image.height == (3 * 9 + 1) / (2 * 9 + 1), "three columns, two rows"


def test_sample_an_array(tiny_run: Path, tmp_path: Path) -> None:
    arrays = []
    for number, options in enumerate((["--count", "5"], ["--count", "7"], ["--count", "5", "--seed", "1"])):
        out = tmp_path / f"{number}.npy"
        assert main(["sample", str(tiny_run), "--out", str(out), *options]) == 0
        arrays.append(np.load(out))
    assert [a.shape for a in arrays] == [(5, 8, 8), (7, 8, 8), (5, 8, 8)]
    assert arrays[0].dtype == np.uint8
    assert (arrays[0] == arrays[1][:5]).all(), "more of the same seed go on where fewer ended"
    assert (arrays[0] != arrays[2]).any()


def test_sample_a_folder(tiny_run: Path, tmp_path: Path) -> None:
    out, array = tmp_path / "folder", tmp_path / "a.npy"
    assert main(["sample", str(tiny_run), "--count", "12", "--out", str(out)]) == 0
    assert main(["sample", str(tiny_run), "--count", "12", "--out", str(array)]) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"{i:02d}.png" for i in range(12)]
    pixels = np.stack([np.asarray(Image.open(p)) for p in sorted(out.iterdir())])
    assert (pixels == np.load(array)).all()


def test_sample_points(tiny_points_run: Path, tmp_path: Path, refused: Refused) -> None:
    assert main(["sample", str(tiny_points_run), "--count", "5", "--out", str(tmp_path / "x.npy")]) == 0
    points = np.load(tmp_path / "x.npy")
    assert (points.shape, points.dtype) == ((5, 2), np.float32)
    assert np.isfinite(points).all()
    assert main(["sample", str(tiny_points_run), "--count", "5", "--out", str(tmp_path / "x.png")]) == 0
    assert Image.open(tmp_path / "x.png").mode == "RGB"
    assert "points cannot be written as a folder of images" in refused(
        "sample", tiny_points_run, "--out", tmp_path / "folder"
    )


def test_sample_from_a_chosen_checkpoint(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, step in (("last", 20), ("best", 20), ("0", 0), ("20", 20)):
        assert main(["sample", str(tiny_run), "--checkpoint", name, "--out", str(tmp_path / "x.npy")]) == 0
        assert f"64 samples of step {step}: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "count=0 must be a whole number, at least 1"),
        (["--count", "-3"], "count=-3 must be a whole number, at least 1"),
        (["--count", "many"], "--count: invalid int value: 'many'"),
        (["--checkpoint", "7"], "has no checkpoint '7'; choose from: last, best, 0, 20"),
        (["--checkpoint", "lats"], "has no checkpoint 'lats'; choose from: last, best"),
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--out", "x.jpg"], "unknown file type '.jpg'; use .png, .npy"),
    ],
)
def test_mistakes_of_sample(options: list[str], message: str, tiny_run: Path, tmp_path: Path, refused: Refused) -> None:
    out = [] if "--out" in options else ["--out", tmp_path / "x.png"]
    assert re.search(message, refused("sample", tiny_run, *out, *options))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- damaged runs


def cut_weights(run: Path) -> None:
    path = run / "checkpoints" / "step-000000020.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(run: Path) -> None:
    path = run / "checkpoints" / "step-000000020.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def vouch(run: Path) -> None:
    import hashlib

    path = run / "checkpoints" / "step-000000020.safetensors"
    manifest = path.with_suffix(".json")
    values = json.loads(manifest.read_text())
    values["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(values))


def foreign_weights(run: Path) -> None:
    path = run / "checkpoints" / "step-000000020.safetensors"
    save_file({"somebody.weight": np.zeros(3, np.float32)}, path)
    vouch(run)


def other_shapes(run: Path) -> None:
    path = run / "checkpoints" / "step-000000020.safetensors"
    tensors = load_file(path)
    save_file({n: np.zeros((5, 5), np.float32) if t.ndim == 2 else t for n, t in tensors.items()}, path)
    vouch(run)


def not_safetensors(run: Path) -> None:
    (run / "checkpoints" / "step-000000020.safetensors").write_bytes(b"a pickle, perhaps")
    vouch(run)


def manifest_of(text: str) -> Callable[[Path], Any]:
    return lambda run: (run / "checkpoints" / "step-000000020.json").write_text(text)


MANIFEST = {"step": 20, "seconds": 1.0, "position": 1280, "score": None, "sha256": "0"}

DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights cut": (cut_weights, r"step-000000020.safetensors is damaged: its checksum.*remove .*step-000000020.json"),
    "weights changed": (flip_a_bit, "step-000000020.safetensors is damaged: its checksum"),
    "weights gone": (
        lambda run: (run / "checkpoints" / "step-000000020.safetensors").unlink(),
        "step-000000020.safetensors cannot be read .*No such file",
    ),
    "no safetensors": (not_safetensors, "step-000000020.safetensors is not a safetensors file"),
    "foreign weights": (foreign_weights, "does not fit the recipe: generator's .* is missing.*recipe.toml"),
    "other shapes": (
        other_shapes,
        r"does not fit the recipe: generator's .* is \(5, 5\) there and \(32, 32\) in the recipe",
    ),
    "manifest cut": (manifest_of('{"step": 20,'), "step-000000020.json is damaged .*remove it"),
    "manifest empty": (manifest_of(""), "step-000000020.json is damaged"),
    "manifest a list": (manifest_of("[1]"), "step-000000020.json is damaged"),
    "manifest of words": (manifest_of(json.dumps(MANIFEST | {"step": "x"})), "step-000000020.json is damaged"),
    "manifest of nothing": (manifest_of(json.dumps(MANIFEST | {"step": None})), "step-000000020.json is damaged"),
    "overheads without names": (manifest_of(json.dumps(MANIFEST | {"overheads": [1]})), "000020.json is damaged"),
    "overheads of words": (manifest_of(json.dumps(MANIFEST | {"overheads": {"a": "b"}})), "000020.json is damaged"),
    "no checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint"),
    "recipe changed": (
        lambda run: damage(run / "recipe.toml", "hidden=(32,)", "hidden=(16,)"),
        r"does not fit the recipe: generator's .* is \(32,\) there and \(16,\) in the recipe",
    ),
    "recipe no TOML": (lambda run: (run / "recipe.toml").write_text("steps = "), "recipe.toml is not TOML"),
    "recipe unknown field": (lambda run: (run / "recipe.toml").write_text("x = 1"), "recipe.toml: .*no field 'x'"),
    "recipe binary": (lambda run: (run / "recipe.toml").write_bytes(b"\xff\xfe\0"), "recipe.toml"),
    "data.json cut": (lambda run: (run / "data.json").write_text('{"name": "dig'), "data.json is damaged"),
    "data.json a list": (lambda run: (run / "data.json").write_text("[]"), "data.json is damaged"),
    "data.json binary": (lambda run: (run / "data.json").write_bytes(b"\xff\xfe\0"), "data.json is damaged"),
    "data.json gone": (lambda run: (run / "data.json").unlink(), "data.json is damaged"),
    "data.json other fields": (lambda run: damage(run / "data.json", '"shape"', '"sheep"'), "data.json is damaged"),
    "data.json no shape": (
        lambda run: (run / "data.json").write_text('{"digest": "0", "form": {"shape": null}}'),
        "data.json",
    ),
    "code in the recipe": (
        lambda run: damage(run / "recipe.toml", "MLPGenerator(hidden=(32,))", "os.system('true')"),
        "would run code of 'os.system'.*--trust",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_runs(what: str, run_copy: Path, refused: Refused, tmp_path: Path) -> None:
    break_it, message = DAMAGED[what]
    break_it(run_copy)
    assert re.search(message, refused("resume", run_copy, "--steps", "22"))
    assert re.search(message, refused("sample", run_copy, "--out", tmp_path / "x.npy"))
    assert not (tmp_path / "x.npy").exists()


def test_a_recipe_is_not_put_on_anothers_data(run_copy: Path, refused: Refused) -> None:
    damage(run_copy / "data.json", '"digest": "', '"digest": "0')
    assert re.search("data 'digits' is not what .*run was trained on", refused("resume", run_copy, "--steps", "22"))


def test_an_optimiser_that_was_changed(run_copy: Path, refused: Refused) -> None:
    damage(run_copy / "recipe.toml", "Adam(lr=2e-3, betas=(0.0, 0.99))", "RMSprop()")
    assert re.search("optimi[sz]er", refused("resume", run_copy, "--steps", "22"))


@pytest.mark.parametrize("content", [b"{not json\n", b"[1]\n", b'{"seconds": 1}\n', b"\xff\xfe\0\n"])
def test_a_damaged_log(content: bytes, run_copy: Path, refused: Refused) -> None:
    log = run_copy / "log.jsonl"
    log.write_bytes(content + log.read_bytes())
    assert re.search(r"log.jsonl", refused("resume", run_copy, "--steps", "22"))


def test_half_a_row_at_the_logs_end_is_cut_off(run_copy: Path) -> None:
    log = run_copy / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"step": 2')
    assert main(["resume", str(run_copy), "--steps", "22"]) == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[-1]["step"] == 22


def test_the_checkpoint_before_a_damaged_one_serves(run_copy: Path, refused: Refused) -> None:
    cut_weights(run_copy)
    path = re.search(r"remove (\S+\.json)", refused("resume", run_copy, "--steps", "22"))
    assert path is not None
    Path(path[1]).unlink()
    assert main(["resume", str(run_copy), "--steps", "3"]) == 0
    assert (run_copy / "checkpoints" / "step-000000003.json").exists()


# --------------------------------------------------------------------------------------------------------- data


def test_data_on_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "digits", "--out", str(tmp_path / "sheet.png")]) == 0
    reported = capsys.readouterr().out
    for line in ("samples     1,797", r"size        8x8", r"channels    1 \(grey\)", "duplicates  none"):
        assert re.search(line, reported), reported
    assert "classes     10: 0 (178), 1 (182)" in reported
    assert Image.open(tmp_path / "sheet.png").format == "PNG"


def test_data_on_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for i in range(10):
        Image.new("RGB", (8, 8), (max(i, 2), 50, 9)).save(tmp_path / "set" / f"{i}.png")
    (tmp_path / "set" / "torn.png").write_text("not an image")
    assert main(["data", "set"]) == 0
    reported = capsys.readouterr().out
    assert re.search("samples +10\n", reported)
    assert re.search("duplicates +2 exact copies of other samples", reported)
    assert re.search(r"left out +set/torn.png: not an image", reported)
    assert re.search(r"warning +channel 1 has one value in all images", reported)
    assert (tmp_path / "data-set.png").exists()


# ----------------------------------------------------------------------------------- disk, lock, and interruption


def test_a_second_trainer_is_refused(run_copy: Path, refused: Refused) -> None:
    from sparring.run.directory import Run

    with Run.open(run_copy).locked():
        message = refused("resume", run_copy, "--steps", "22")
    assert f"{run_copy} is being trained by another process" in message
    assert main(["resume", str(run_copy), "--steps", "22"]) == 0, "free again"


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_full_disk(tmp_path: Path, tiny_run: Path) -> None:
    sizes = [(tiny_run / "checkpoints" / f"step-{step:09d}.safetensors").stat().st_size for step in (0, 20)]
    limit = sum(sizes) // 2  # the first checkpoint, without the optimisers' moments, fits
    run = tmp_path / "run"
    code = (
        "import resource, sys; from sparring.cli import main; import matplotlib.font_manager\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", "--out", str(run), *tiny_options()]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=DEADLINE)
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("sparring: ")]
    assert re.search(r"cannot write .*step-000000020.safetensors: File too large; .*sparring resume ", line)
    assert result.stderr.endswith(line + "\n")
    assert "Traceback" not in result.stderr
    assert not list(run.rglob("*.part*")), "no half-written file stays"
    assert main(["resume", str(run)]) == 0
    assert (run / "checkpoints" / "step-000000020.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interruption(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--out", run, *tiny_options(steps=10_000_000, pictures=0, checkpoint_every=60)]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (run / "log.jsonl").exists(), process)
        process.send_signal(number)
        reported = process.communicate(timeout=DEADLINE)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in reported
    (line,) = [line for line in reported.splitlines() if line.startswith("sparring: ")]
    found = re.fullmatch(rf"sparring: stopped at step (\d+); to continue: sparring resume {re.escape(str(run))}", line)
    assert found is not None, line
    step = int(found[1])
    manifest = json.loads((run / "checkpoints" / f"step-{step:09d}.json").read_text())
    assert manifest["step"] == step
    assert main(["resume", str(run), "--steps", str(step + 2)]) == 0
    assert (run / "checkpoints" / f"step-{step + 2:09d}.json").exists()


def test_interruption_before_training(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sparring.commands.train.load_recipe", interrupt)
    assert main(["train"]) == 130
    assert capfd.readouterr().err == "sparring: interrupted\n"


def test_training_that_fails_has_its_own_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changes = {
        "generator_optimizer": "SGD(lr=1e30)",
        "discriminator_optimizer": "SGD(lr=1e30)",
        "loss": "Wasserstein()",
    }
    run = tmp_path / "run"
    assert main(["train", "--out", str(run), *tiny_options(**changes)]) == 1
    reported = capfd.readouterr().err
    (line,) = [line for line in reported.splitlines() if line.startswith("sparring: ")]
    assert re.search(rf"training failed: .*The last good checkpoint is step 0 of {re.escape(str(run))}", line)
    assert "Traceback" not in reported


def test_own_modules_of_the_working_folder_need_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "from sparring.game.losses import Hinge\nclass Own(Hinge): ...\n"
    (tmp_path / "module_of_the_folder.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", str(tmp_path))])
    command = ["train", "digits", "--loss", "module_of_the_folder.Own()", "--steps", "2", "--out", "run"]
    assert main(command) == 2
    assert "--trust" in capfd.readouterr().err
    assert main([*command, "--trust"]) == 0
