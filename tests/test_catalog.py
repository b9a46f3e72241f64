"""`sparring list` and `sparring explain`: every name that a recipe or an option accepts is listed and explained."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import nn

from sparring.assemble import build
from sparring.base.components import Spec, make_all
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.commands import entries
from sparring.commands.catalog import KINDS, Kind, meanings
from sparring.commands.entries import GIVEN, Entry, summary
from sparring.commands.explain import explained
from sparring.data.form import Form
from sparring.data.load import SETS
from sparring.doctor import FAILURES
from sparring.evaluation.measures import MEASURES
from sparring.evaluation.similarity import SIMILARITY
from sparring.recipe import GROUPS, Recipe, field_names, load_recipe, recipe_names
from sparring.tasks import Generate, Restore

HOMES = [m for m in vars(build).values() if isinstance(m, ModuleType) and m.__name__.startswith("sparring.")]
ALL = [(kind, entry) for kind in KINDS.values() for entry in kind.entries()]
COMPONENTS = [(kind, entry) for kind, entry in ALL if entry.heading.startswith(f"{entry.name}(")]
Refused = Callable[..., str]


def names(kind: str) -> list[str]:
    return [entry.name for entry in KINDS[kind].entries()]


def label(value: object) -> str:
    return value.name if isinstance(value, Entry) else value.one if isinstance(value, Kind) else str(value)


def test_every_component_that_a_recipe_can_name_is_listed() -> None:
    assert len(HOMES) > 10
    buildable = {getattr(home, name) for home in HOMES for name in home.__all__}
    assert buildable == {getattr(import_module(entry.module), entry.name) for _, entry in COMPONENTS}


def test_every_other_name_is_listed() -> None:
    assert names("recipes") == recipe_names()
    assert names("fields") == field_names()
    assert sorted(names("data")) == sorted(SETS)
    assert names("metrics") == [*MEASURES, *SIMILARITY]
    assert names("failures") == list(FAILURES)


@pytest.mark.parametrize(("kind", "entry"), ALL, ids=label)
def test_every_name_is_described_and_explained(kind: Kind, entry: Entry) -> None:
    assert entry.about == " ".join(entry.about.split()) != ""
    shown = "\n".join(explained(kind, entry))
    for part in (entry.heading, entry.text, *entry.details, entry.use, entry.module):
        assert part in shown


def test_every_name_is_found_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: [entry for kind, entry in ALL if kind is KINDS[name]] for name in KINDS}
    for name, listed in known.items():
        monkeypatch.setitem(KINDS, name, Kind(KINDS[name].one, "", "", lambda use, listed=listed: listed))  # type: ignore[misc]
    for _, entry in ALL:
        for written in (entry.name, entry.name.upper(), f"{entry.name}(x=1)", f"--{entry.name.replace('_', '-')}"):
            assert entry in [each for _, each in meanings(written)]


@pytest.mark.parametrize(("kind", "entry"), COMPONENTS, ids=label)
def test_the_fields_of_components_have_defaults_and_the_use_can_be_typed(kind: Kind, entry: Entry) -> None:
    assert Spec.read(entry.heading).fields.keys() == entry.fields.keys()
    option, text, *others = (word.removesuffix(",") for word in shlex.split(entry.use))
    fields = [name.removeprefix("--").replace("-", "_") for name in (option, *others[::2])]
    assert {text, *others[1::2]} == {text}
    assert all(getattr(Recipe().replace(**{field: text}), field) == text for field in fields)
    if kind is not KINDS["networks"]:  # which are built for shapes
        (home,) = (home for home in HOMES if Spec.read(text).name in home.__all__)
        (made,) = make_all(text, home, *HOMES)
        assert repr(made)


def test_arguments_of_networks_that_the_task_sets_are_hidden() -> None:
    found: set[str] = set()

    def record(context: object, given: dict[str, object]) -> nn.Module:
        found.update(given)
        return nn.Identity()

    for task in (Generate(), Restore()):
        sized = task.for_data(Form((3, 32, 32)))
        sized.build_generator(record)  # type: ignore[arg-type]
        sized.build_discriminator(record)  # type: ignore[arg-type]
    assert found == set(GIVEN)
    assert not any(set(entry.fields) & found for kind, entry in COMPONENTS if kind is KINDS["networks"])
    assert "classes" in {key for entry in KINDS["tasks"].entries() for key in entry.fields}


def test_a_recipe_shows_the_fields_that_it_changes() -> None:
    ((_, entry),) = [found for found in meanings("ring") if found[0] is KINDS["recipes"]]
    assert Recipe().replace(**entry.fields, about=entry.about) == load_recipe("ring")


def test_a_field_shows_its_group_limits_and_where_its_values_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    expected = {
        "learning_rate": ["group: game", "values: sparring list schedules", '--learning-rate "Constant(1)"'],
        "batch-size": ["group: budget", "at least 1", "--batch-size 64"],
        "precision": ["one of auto, fp32, bf16"],
        "mirror": ["use:    --mirror\n"],
    }
    for name, parts in expected.items():
        assert main(["explain", name]) == 0
        shown = capsys.readouterr().out
        assert [part for part in parts if part not in shown] == [], shown
    assert all(f"group: {name}" in str([entry.details for entry in KINDS["fields"].entries()]) for name in GROUPS)


def test_explain_shows_signature_documentation_limits_use_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "r1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^R1: penalty\nR1\(weight=10\.0, every=1\)\n\n.*Mescheder et al\. 2018", shown, re.DOTALL)
    for part in (
        "weight: number or schedule = 10.0",
        "every: int = 1  (at least 1)",
        '--penalties "R1(weight=10.0)"',
        "sparring.game.penalties.slopes",
    ):
        assert part in shown


def test_explain_shows_every_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    for name, parts in {
        "mnist": ["mnist: recipe\n", "mnist: data set\n"],
        "frechet": ["frechet: metric\n", "frechet (image-to-image)", "lower is better"],
        "data": ["data: field of a recipe\n", f"data: {KINDS['data'].about}"],
        "losses": [f"losses: {KINDS['losses'].about}", "Hinge()"],
    }.items():
        assert main(["explain", name]) == 0
        shown = capsys.readouterr().out
        assert [part for part in parts if part not in shown] == [], shown


def test_an_unknown_name_gets_the_nearest_ones(refused: Refused) -> None:
    assert "'Hingee'; did you mean 'Hinge'? " in refused("explain", "Hingee")
    assert "nothing is called 'qqqq'; sparring list shows" in refused("explain", "qqqq")
    assert "did you mean 'losses'? " in refused("list", "loses")
    for wrong, near in {
        "R12": "'R[12]' or 'R[12]'",
        "dcgan": "'DCGANDiscriminator' or",
        "frechett": "'frechet'",
    }.items():
        with pytest.raises(UserError, match=f"did you mean {near}"):
            meanings(wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_list_of_a_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    for entry in KINDS[kind].entries():
        at = lines.index(entry.heading)
        assert lines[at + 1].strip()
        assert entry.about.startswith(lines[at + 1].strip())
    assert main(["list", kind, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [kind]
    assert [each["name"] for each in found[kind]["entries"]] == names(kind)


def test_list_without_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    words = set(re.split(r"[,\s]+", capsys.readouterr().out))
    assert words >= {entry.name for _, entry in ALL}
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(KINDS)
    (adam,) = [each for each in found["optimizers"]["entries"] if each["name"] == "Adam"]
    assert adam["fields"]["betas"] == "(0.5, 0.999)"
    assert adam["fields"]["weight_decay"] == 0.0


def test_a_new_component_is_listed_without_further_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh(amount: float = 3.0) -> torch.Tensor:
        """A loss of the test. More on it."""
        raise NotImplementedError

    home = import_module("sparring.game.losses")
    monkeypatch.setattr(home, "Fresh", fresh, raising=False)
    monkeypatch.setattr(home, "__all__", [*home.__all__, "Fresh"])
    ((kind, entry),) = meanings("Fresh")
    assert (kind, entry.heading, entry.about) == (KINDS["losses"], "Fresh(amount=3.0)", "A loss of the test")


def test_the_summary_is_the_first_sentence() -> None:
    assert summary("One\nline. Another.\n\nMore.") == "One line"
    assert summary("Adam et al. 2017, equation 3. Source: a paper.") == "Adam et al. 2017, equation 3"
    assert summary("") == ""
    assert entries.limits_text({}) == ""


@pytest.mark.parametrize(
    ("name", "metric"), [("memorised", "memorising"), ("recall", "precision_recall"), ("KID", "kernel_distance")]
)
def test_a_value_of_a_metric_is_explained_by_it(name: str, metric: str) -> None:
    assert metric in {entry.name for _, entry in meanings(name)}
