"""Recipes: TOML round trips, refusals, and every named recipe can be built."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.assemble.build import build_ema, build_game, build_turns
from sparring.assemble.start import auto_fields, resolve_auto
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.load import load_data
from sparring.recipe import COMPONENTS, DEFAULT, GROUPS, Recipe, field_names, load_recipe, parse_recipe, recipe_names

try:
    import tomllib
except ImportError:
    import tomli as tomllib  # type: ignore[no-redef]

DIGITS = tuple("0123456789")
FORMS = {
    "digits": Form((1, 8, 8), DIGITS),
    "mnist": Form((1, 28, 28), DIGITS),
    "small-mnist": Form((1, 28, 28), DIGITS),
    "stacked-mnist": Form((3, 28, 28)),
    "cifar10": Form((3, 32, 32)),
    "digit-colours": Form((3, 16, 16), source=Form((3, 16, 16))),
    "digit-edges": Form((1, 16, 16), source=Form((1, 16, 16))),
    "digit-inverts": Form((1, 16, 16), source=Form((1, 16, 16))),
    "digit-maps": Form((1, 16, 16), ("paper", "ink"), map=True, source=Form((1, 16, 16))),
    "photos": Form((3, 64, 64)),
}
POINTS = Form((2,), centre=(0.0, 0.0), low=(-1.0, -1.0), high=(1.0, 1.0))


@pytest.mark.parametrize("name", recipe_names())
def test_named_recipes_survive_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(recipe.to_toml(), "test") == recipe
    assert recipe.about, "a named recipe has a description"
    assert "\n" not in recipe.about


@pytest.mark.parametrize("name", recipe_names())
def test_named_recipes_build_their_components(name: str) -> None:
    recipe = load_recipe(name)
    recipe = recipe.replace(augment="" if recipe.augment == "auto" else recipe.augment)
    form = FORMS.get(recipe.data, POINTS)
    game = build_game(recipe, form, torch.device("cpu"))
    build_turns(recipe)
    build_ema(recipe)
    inputs = {"real": torch.zeros(2, *form.input_shape), **game.task.draw(2)}
    if form.source is not None:
        inputs["source"] = torch.zeros(2, *form.source.input_shape)
    fake = game.task.generate(game.generator.network, game.task.prepare(inputs))["fake"]
    assert fake.shape[1:] == form.input_shape
    copied = copy.deepcopy(game)  # as timing takes its steps on
    for player in (copied.generator, copied.discriminator):
        updated = [parameter for group in player.optimizer.param_groups for parameter in group["params"]]
        assert {*map(id, updated)} <= {*map(id, player.network.parameters())}


def test_the_default_recipe_exists() -> None:
    assert DEFAULT in recipe_names()


def _values(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    limits = field.metadata.get("limits", {})
    kind = get_type_hints(Recipe)[field.name]
    if field.name == "precision":
        return st.sampled_from(["auto", "fp32", "bf16"])
    if field.name == "device":
        return st.sampled_from(["auto", "cpu", "cuda", "mps"])
    if field.name == "doctor":
        return st.sampled_from(["off", "watch", "treat"])
    if field.name == "size":
        return st.sampled_from(["", "8", "96x64", 0, 64])
    if field.name == "threads":
        return st.sampled_from(["auto", "1", "16", 2])
    if field.name == "fit":
        return st.sampled_from(["crop", "pad", "stretch"])
    if kind is str:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(limits["low"], 10**15)
    # training in the same process flushes denormals to zero, so none are drawn
    high = min(limits["high"], 1e300)
    return st.floats(1e-9 if limits["open_low"] else limits["low"], high, allow_subnormal=False)


RANDOM = st.fixed_dictionaries({}, optional={f.name: _values(f) for f in dataclasses.fields(Recipe)})


@settings(deadline=None)
@given(RANDOM)
def test_any_values_survive_toml(values: dict[str, Any]) -> None:
    try:
        recipe = Recipe(**{**values, "micro_batches": 1})
    except UserError:
        assert not values.get("steps", 1) or (values.get("patience") and not values.get("evaluate_every"))
        return
    assert parse_recipe(recipe.to_toml(), "test") == recipe


def test_the_document_explains_each_field() -> None:
    lines = Recipe().to_toml().splitlines()
    assert [line.split(" = ")[0] for line in lines[1::2]] == field_names()
    assert all(line.startswith("# ") and len(line) > 5 for line in lines[::2])
    assert list(tomllib.loads("\n".join(lines))) == field_names()


def test_every_field_is_in_a_group() -> None:
    assert {field.metadata["group"] for field in dataclasses.fields(Recipe)} == set(GROUPS)
    assert all(GROUPS.values()), "each group has a description"


def test_missing_fields_have_their_defaults() -> None:
    assert parse_recipe("", "test") == Recipe()
    assert parse_recipe('loss = "Hinge()"', "test") == Recipe(loss="Hinge()")


def test_a_float_field_accepts_a_whole_number() -> None:
    recipe = parse_recipe("minutes = 2", "test")
    assert recipe.minutes == 2
    assert isinstance(recipe.minutes, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes = 5", "no field 'stpes': did you mean 'steps'"),
        ("[steps]\na = 1", "steps={'a': 1} must be a whole number"),
        ("steps = '5'", "steps='5' must be a whole number, at least 0"),
        ("steps = 5.0", "steps=5.0 must be a whole number"),
        ("steps = true", "steps=True must be a whole number"),
        ("steps = -1", "steps=-1 must be a whole number, at least 0"),
        ("steps = 0", "steps=0, minutes=0 and wall_minutes=0 leave no budget"),
        ("wall_minutes = -1", "wall_minutes=-1.0 must be a number, at least 0"),
        ("minutes = nan", "minutes=nan must be a number"),
        ("minutes = inf", "minutes=inf must be a number"),
        ("loss = 5", r"loss=5 must be text, such as 'NonSaturating\(\)'"),
        ("loss = ['Hinge()']", r"loss=\['Hinge\(\)'\] must be text"),
        ("data = 1979-05-27", "data=.*must be text"),
        ("batch_size = 0", "batch_size=0 must be a whole number, at least 1"),
        ("batch_size = 10\nmicro_batches = 3", "batch_size=10 cannot be cut into .*3 equal"),
        ("checkpoint_every = 0", "checkpoint_every=0.0 must be a number, above 0"),
        ("keep = 0", "keep=0 must be a whole number, at least 1"),
        ("seed = -1", "seed=-1 must be a whole number, at least 0"),
        ("precision = 'fp16'", "precision='fp16'; .*[Aa]llowed are auto, bf16, fp32"),
        ("precision = 'FP32'", "did you mean 'fp32'"),
        ("device = 'gpu'", "device='gpu'; .*[Aa]llowed are auto, cpu, cuda, mps"),
        ("size = '64x'", "size='64x' is no image size; write 64"),
        ("size = '0x5'", "size='0x5' is no image size"),
        ("size = 1.5", "size=1.5 is no image size"),
        ("size = true", "size=True is no image size"),
        ("size = 5000", "size='5000' is no image size.*each side 1 to 4096"),
        ("threads = 0", "threads='0' is no number of threads; write auto, or a whole number of at least 1"),
        ("threads = -2", "threads='-2' is no number of threads"),
        ("threads = 1.5", "threads=1.5 is no number of threads"),
        ("threads = true", "threads=True is no number of threads"),
        ("threads = 'two'", "threads='two' is no number of threads"),
        ("threads = '1025'", "threads='1025' is no number of threads.*at most 1024"),
        ("fit = 'croop'", "fit='croop'; did you mean 'crop'"),
        ("steps", "is not TOML"),
        ("steps = 5\nsteps = 6", "is not TOML"),
        (f"steps = {'9' * 400}", "steps="),
        (f"minutes = {'9' * 400}", "minutes="),
    ],
)
def test_refused_documents(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^mine.toml.*{message}") as caught:
        parse_recipe(text, "mine.toml")
    assert "\n" not in str(caught.value)


def test_every_numeric_field_is_bounded_below() -> None:
    for field in dataclasses.fields(Recipe):
        if get_type_hints(Recipe)[field.name] is not str:
            with pytest.raises(UserError, match=f"recipe: {field.name}=-1"):
                Recipe(**{field.name: -1})


def test_budgets_replace_each_other() -> None:
    steps = Recipe(steps=100)
    minutes = steps.replace(minutes=2.5)
    assert (minutes.steps, minutes.minutes) == (0, 2.5)
    assert minutes.replace(steps=7) == steps.replace(steps=7)
    both = steps.replace(steps=7, minutes=1.5)
    assert (both.steps, both.minutes) == (7, 1.5)
    assert parse_recipe("minutes = 1.5", "test").steps == 0
    assert parse_recipe("minutes = 1.5\nsteps = 7", "test").steps == 7
    wall = both.replace(wall_minutes=3.0)
    assert wall.budgets == {"wall_minutes": 3.0}
    assert wall.replace(minutes=1.5).budgets == {"minutes": 1.5}
    assert wall.replace(minutes=0.0, loss="Hinge()").budgets == wall.budgets
    three = wall.replace(steps=7, minutes=1.5, wall_minutes=3.0)
    assert three.budgets == {"steps": 7, "minutes": 1.5, "wall_minutes": 3.0}
    assert [each.timed for each in (steps, minutes, both, wall, three)] == [False, True, True, True, True]
    assert parse_recipe("wall_minutes = 2", "test").budgets == {"wall_minutes": 2.0}
    assert parse_recipe(three.to_toml(), "test") == three


def test_the_options_that_double_a_budget() -> None:
    recipe = Recipe(steps=100, minutes=1.5, wall_minutes=20.0)
    assert recipe.longer(40) == "--steps 80 --minutes 3 --wall-minutes 40"
    assert recipe.replace(wall_minutes=2.5).longer(40) == "--wall-minutes 5"
    assert recipe.replace(steps=2_000_000).longer(2_000_000) == "--steps 4000000"


def test_a_number_of_threads_is_stored_as_text() -> None:
    assert parse_recipe("threads = 2", "test").threads == "2"
    assert Recipe(threads="02") == Recipe().replace(threads=2)
    assert Recipe().threads == "auto"


def test_replace_refuses() -> None:
    with pytest.raises(UserError, match="no field 'los': did you mean 'loss'"):
        Recipe().replace(los="Hinge()")
    with pytest.raises(UserError, match="batch_size=2.5 must be a whole number"):
        Recipe().replace(batch_size=2.5)
    with pytest.raises(UserError, match="leave no budget"):
        Recipe().replace(steps=0)


def test_replace_leaves_the_original() -> None:
    recipe = Recipe()
    assert recipe.replace(loss="Hinge()").loss == "Hinge()"
    assert recipe == Recipe()


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(Recipe(loss="Hinge()", about='ä "quoted" \\ text').to_toml(), encoding="utf-8")
    assert load_recipe(str(path)).about == 'ä "quoted" \\ text'


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recipe 'digist': did you mean 'digits'"):
        load_recipe("digist")
    missing = tmp_path / "missing.toml"
    with pytest.raises(UserError, match=r"no recipe .*missing.toml"):
        load_recipe(str(missing))
    missing.write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match=r"missing.toml cannot be read"):
        load_recipe(str(missing))


@pytest.mark.parametrize("name", ["a" * 5000, "~no-such-user-at-all/mine", "", "."])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UserError, match="no recipe|cannot be read"):
        load_recipe(name)


def test_auto_fields_are_resolved_for_data_task_and_device() -> None:
    cpu, recipe = torch.device("cpu"), load_recipe("digits").replace(augment="auto", metrics="auto", precision="auto")
    assert auto_fields(recipe) == ["precision", "augment", "metrics"]
    resolved = resolve_auto(recipe, load_data("digits"), cpu)
    assert auto_fields(resolved) == []
    assert (resolved.augment, resolved.metrics) == ("", "frechet"), "8x8 images are not augmented"
    assert (resolved.device, resolved.extractor) == (recipe.device, recipe.extractor)
    assert (
        resolve_auto(recipe.replace(data="mnist"), load_data("mnist").part(torch.arange(100)), cpu).augment == "ADA()"
    )
    chosen = recipe.replace(augment="DiffAugment()", metrics="modes", precision="fp32")
    assert resolve_auto(chosen, load_data("digits"), cpu) == chosen


def test_commands_of_a_recipe_with_own_code_need_trust() -> None:
    assert [Recipe().trust, Recipe(penalties="R1(weight=0.5), LeCam()").trust] == ["", ""]
    assert Recipe(extractor="Classifier(weights='a.pt')").trust == ""
    for changes in ({"loss": "mine.Loss()"}, {"penalties": "R1(), mine.Drift(margin=1)"}, {"generator": "nets.sub.G"}):
        assert Recipe(**changes).trust == " --trust"


def test_every_field_of_components_is_known() -> None:
    assert set(COMPONENTS) <= set(field_names())
