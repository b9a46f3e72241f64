"""Components as text: accepted texts, and the message of each refusal."""

from __future__ import annotations

import math
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparring import networks, tasks
from sparring.base.components import Spec, is_trusted, make, make_all, trusted
from sparring.base.errors import UserError
from sparring.base.fields import Limited, choice, flag, number
from sparring.game import augment, ema, losses, optimizers, penalties, schedules, turns
from sparring.game import inputs as latents
from sparring.game.inputs import Normal, Uniform
from sparring.game.losses import Hinge, NonSaturating
from sparring.game.optimizers import Adam
from sparring.game.penalties import R1, R2, WeightClip
from sparring.game.schedules import Cosine, Linear
from sparring.networks import MLPGenerator
from sparring.tasks import Generate

HOMES = (penalties, losses, schedules, turns, latents, ema, augment, optimizers, tasks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R1", R1()),
        ("R1()", R1()),
        ("  R1( 5 ,every = 16 ) \n", R1(weight=5, every=16)),
        ("R1(weight=5, every=16)", R1(weight=5, every=16)),
        ("R1(weight=Cosine(5, 1))", R1(weight=Cosine(5, 1))),
        ("R1(weight=Linear(start=2e-1, end=0.0, begin=0.5))", R1(weight=Linear(0.2, 0.0, 0.5))),
        ("Linear(start=-1, end=+1)", Linear(-1, 1)),
        ("Adam(lr=1e-3, betas=(0.0, 0.9))", Adam(lr=1e-3, betas=(0.0, 0.9))),
        ("Adam(lr=1e-3, betas=[0.0, 0.9])", Adam(lr=1e-3, betas=(0.0, 0.9))),
        ("Generate(latent=Uniform(7))", Generate(latent=Uniform(7))),
    ],
)
def test_accepted(text: str, expected: object) -> None:
    home = next(home for home in HOMES if type(expected).__name__ in home.__all__)
    assert make(text, home, *HOMES) == expected


def test_context_comes_before_the_text() -> None:
    network = make("MLPGenerator(hidden=(3, 4))", networks, context=(2, (1, 8, 8)))
    assert isinstance(network, MLPGenerator)
    assert [tuple(p.shape) for p in network.parameters()] == [(3, 2), (3,), (4, 3), (4,), (64, 4), (64,)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n", []),
        ("R1()", [R1()]),
        ("R1(5),", [R1(5)]),
        ("R1(weight=5, every=16), R2, WeightClip(0.1)", [R1(5, 16), R2(), WeightClip(0.1)]),
        ("R1(weight=Cosine(5, 1)), R1(weight=2)", [R1(Cosine(5, 1)), R1(2)]),
    ],
)
def test_lists(text: str, expected: list[object]) -> None:
    assert make_all(text, penalties, schedules) == expected


def test_only_public_names_of_the_first_home_are_found() -> None:
    assert make("Normal(3)", latents) == Normal(3)
    for private in ("_Latent()", "torch", "dataclass", "check_number(1, 2, 3)", "Penalty()", "annotations"):
        with pytest.raises(UserError, match="unknown component"):
            make(private, latents, penalties)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("R3(weight=5)", "unknown component 'R3'.*allowed are AuxiliaryClassifier, .*R1, R2, WeightClip"),
        ("r1()", "unknown component 'r1'.*did you mean 'R1'"),
        ("GradientPenality()", "did you mean 'GradientPenalty'"),
        ("Xyzzy", "unknown component 'Xyzzy'.*allowed are .*R1, R2, WeightClip"),
        ("R1(wieght=5)", "R1 in .*no field 'wieght': did you mean 'weight'.*every"),
        ("R1(5, 1, 2)", "R1 in .*too many positional arguments; its fields are: weight, every"),
        ("R1(5, weight=6)", "R1 in .*multiple values for argument 'weight'"),
        ("R1(weight=Cosine(5, 1, 2, 3, 4))", "Cosine in .*too many positional arguments.*start, end, begin, finish"),
        ("R1(weight='5')", "R1: weight='5' must be a number, at least 0"),
        ("R1(weight=-5)", "R1: weight=-5 must be a number, at least 0"),
        ("R1(weight=Linear(1, -1))", "R1: weight=-1.* must be a number, at least 0"),
        ("R1(every=0)", "R1: every=0 must be a whole number, at least 1"),
        ("R1(every=1.5)", "R1: every=1.5 must be a whole number"),
        ("R1(weight=True)", "R1: weight=True must be a number"),
        ("R1(weight=1e999)", "R1: weight=inf must be a number"),
        ("R1(*[5])", re.escape("* and ** cannot be used here")),
        ("R1(**{'weight': 5})", re.escape("* and ** cannot be used here")),
        ("R1(", "cannot be read.*R1\\(weight=5\\)"),
        ("R1) (", "cannot be read"),
        ("R1 R2", "cannot be read"),
        ("", "cannot be read"),
        ("x = R1()", "cannot be read"),
        ("import os", "cannot be read"),
        ("R1\0", "cannot be read"),
        ("R1, R2", "is not a component"),
        ("5", "'5' is not a component"),
        ("'R1'", "is not a component"),
        ("R1() + R2()", "is not a component"),
        ("R1()()", "is not a component"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make(text, penalties, schedules)
    assert "\n" not in str(caught.value)


def test_a_field_given_twice_is_named() -> None:
    with pytest.raises(UserError, match="weight") as caught:
        make("R1(weight=5, weight=6)", penalties)
    assert "**" not in str(caught.value)


def test_the_nearest_name_of_a_nested_component_is_found_in_its_own_home() -> None:
    with pytest.raises(UserError, match="'Cosin'.*did you mean 'Cosine'"):
        make("R1(weight=Cosin(5, 1))", penalties, schedules)


@pytest.mark.parametrize("text", ["R1(weight=R2())", "R1(weight=Cosine(R1(), 1))"])
def test_a_weight_must_be_a_number_or_a_schedule(text: str) -> None:
    with pytest.raises(UserError, match=r"R1\(|R2\("):
        make(text, penalties, schedules)


def test_numbers_beyond_floats_are_refused() -> None:
    with pytest.raises(UserError, match="R1: weight="):
        make(f"R1(weight={'9' * 400})", penalties)


def test_a_recipe_cannot_set_arguments_that_the_data_decides() -> None:
    given = {"classes": 3}
    with pytest.raises(UserError, match="no field 'latent_size': allowed are hidden$"):
        make("MLPGenerator(latent_size=5)", networks, context=(2, (1, 8, 8)), given=given)
    with pytest.raises(UserError, match="no field 'classes': allowed are hidden$"):
        make("MLPGenerator(classes=5)", networks, context=(2, (1, 8, 8)), given=given)
    with pytest.raises(UserError, match="too many positional arguments; its fields are: hidden$"):
        make("MLPGenerator(256)", networks, context=(2, (1, 8, 8)), given=given)


def test_given_arguments_are_left_out_only_if_they_are_zero() -> None:
    with trusted(True):
        assert make("fractions.Fraction(1, 3)", penalties, given={"classes": 0}) == Fraction(1, 3)
    message = r"Fraction .*takes no classes, but classes=3 is required; use a component that takes classes"
    with pytest.raises(UserError, match=message), trusted(True):
        make("fractions.Fraction(1, 3)", penalties, given={"classes": 3})
    assert make("MLPGenerator()", networks, context=(2, (1, 8, 8)), given={"classes": 3}).classes == 3


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {mark}')",
        "R1(weight=__import__('os').system('touch {mark}'))",
        "R1(weight=[open('{mark}', 'w') for _ in (1,)])",
        "R1(weight=(lambda: open('{mark}', 'w'))())",
        "(lambda: open('{mark}', 'w'))()",
        "[open('{mark}', 'w') for _ in (1,)]",
        "open('{mark}', 'w')",
        'exec(\'open("{mark}", "w")\')',
        "R1(weight=(x := open('{mark}', 'w')))",
        'R1(weight=f\'{{open("{mark}", "w")}}\')',
    ],
)
def test_text_runs_no_code(text: str, trust: bool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(UserError), trusted(trust):
        make(text.format(mark=mark), *HOMES)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value", ["lambda: 1", "[x for x in (1, 2)]", "1 if True else 2", "Cosine", "2**3", "os.curdir", "5 < 6", "-R1"]
)
def test_only_literals_and_components_are_values(value: str) -> None:
    with pytest.raises(UserError, match="is not a value; allowed are numbers"):
        make(f"R1(weight={value})", penalties, schedules)


def test_dotted_names_need_trust() -> None:
    text = "fractions.Fraction(1, 3)"
    with pytest.raises(UserError, match=r"would run code of 'fractions.Fraction'.*--trust"):
        make(text, penalties)
    with pytest.raises(UserError, match=r"would run code of 'fractions.Fraction'.*--trust"):
        make_all(f"R1(), {text}", penalties)
    with trusted(True):
        assert make(text, penalties) == Fraction(1, 3)
        assert make(f"R1(weight={'sparring.game.schedules.Constant(3)'})", penalties).weight(0.5) == 3


def test_trust_ends_with_its_block() -> None:
    with trusted(True):
        with trusted(False):
            assert not is_trusted()
        with pytest.raises(ZeroDivisionError), trusted(False):
            raise ZeroDivisionError
        assert is_trusted()
        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(is_trusted).result(), "other threads do not inherit trust"
    assert not is_trusted()
    with pytest.raises(ZeroDivisionError), trusted(True):
        raise ZeroDivisionError
    assert not is_trusted()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module.Thing()", "'no_such_module.Thing' .*cannot be imported: No module named 'no_such_module'"),
        ("fractions.NoSuchThing()", "cannot be imported: .*NoSuchThing"),
        ("math.pi", "'math.pi' .*is not a class or function"),
        ("fractions.Fraction(top=1)", "Fraction in .*no field 'top'"),
        ("....x", "is not a component"),
        ("'a'.join('b')", "is not a component"),
    ],
)
def test_dotted_names_that_cannot_be_imported(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message), trusted(True):
        make(text, penalties)


def test_a_trusted_callable_without_a_signature() -> None:
    with trusted(True):
        assert make("builtins.dict(a=1)", penalties) == {"a": 1}


@pytest.mark.parametrize("value", [None, 5, R1(), ["R1()"]])
def test_components_must_be_text(value: object) -> None:
    with pytest.raises(UserError, match="a component is written as text"):
        make(value, penalties)  # type: ignore[arg-type]


def test_reading_text_does_not_warn() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert make("Hinge", losses) == Hinge()
        with pytest.raises(UserError):
            make(r'NonSaturating(smoothing="\d")', losses)
    assert not seen, "it would be a second line on stderr"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("R1", "R1()"),
        (" R1( 5 ,every = 16 )", "R1(5, every=16)"),
        ("R1(weight=Linear(1, 5e-2), every=8)", "R1(weight=Linear(1, 0.05), every=8)"),
        ("Adam(lr=1e-3, betas=[0.0, .9])", "Adam(lr=0.001, betas=(0.0, 0.9))"),
        ("MLPGenerator(hidden=(64,))", "MLPGenerator(hidden=(64,))"),
        ("ADA(images=20_000)", "ADA(images=20000)"),
        (
            'mine.Net(kind="a b", depth=-1, wide=True, of=((), 1e999))',
            "mine.Net(kind='a b', depth=-1, wide=True, of=((), 1e309))",
        ),
    ],
)
def test_a_text_survives_parsing_and_writing(text: str, wanted: str) -> None:
    assert str(Spec.read(text)) == wanted
    assert Spec.read(wanted) == Spec.read(text)


def test_fields_of_a_parsed_text_can_be_replaced() -> None:
    spec = Spec.read("R1(5, every=Linear(1, finish=(2,)))")
    assert (spec.name, spec.positional) == ("R1", (5,))
    assert spec.get("every") == Spec("Linear", (1,), {"finish": (2,)})
    assert spec.get("weight") is None
    assert spec.get("weight", 3) == 3
    assert str(spec.replace(every=4, weight=Spec("Cosine", (5, 1)))) == "R1(5, every=4, weight=Cosine(5, 1))"
    assert spec == Spec.read("R1(5, every=Linear(1, finish=(2,)))"), "replace makes a copy"
    assert [each.name for each in Spec.read_all("R1(weight=5), mine.R2, WeightClip(0.1),")] == [
        "R1",
        "mine.R2",
        "WeightClip",
    ]
    assert Spec.read_all(" ") == []
    assert len({spec, Spec.read(str(spec))}) == 1


@pytest.mark.parametrize("text", ["", "5", "R1, R2", "R1(*[5])", "R1(weight=2**3)", "R1(weight=5, weight=6)", "R1("])
def test_texts_that_are_not_a_component_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        Spec.read(text)


NAMES = sorted({name for home in HOMES for name in home.__all__})
FIELDS = ["weight", "every", "latent", "betas", "lr", "start", "sigma", "smoothing", "size", "x"]
ATOMS = st.sampled_from(
    [
        *NAMES,
        "0",
        "-1",
        "1e-3",
        "1e999",
        "5j",
        "'a'",
        "b'a'",
        "None",
        "True",
        "...",
        "()",
        "[]",
        "{}",
        "{[]}",
        "os.path",
    ]
)


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    argument = st.one_of(inner, st.builds("{}={}".format, st.sampled_from(FIELDS), inner), st.just("*(1,)"))
    arguments = st.lists(argument, max_size=3).map(", ".join)
    return st.builds("{}({})".format, st.sampled_from([*NAMES, "X", "os.system"]), arguments)


LIKELY = st.recursive(ATOMS, _calls, max_leaves=6)
TOKENS = st.lists(st.sampled_from([*"()[]{},.=*+-:'\"\\\n#", "R1", "lambda ", "for ", "5", "if "]), max_size=12).map(
    "".join
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(), TOKENS, LIKELY))
@example("\ud800")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_no_text_raises_anything_but_a_user_error(text: str) -> None:
    for build in (make, make_all):
        try:
            build(text, *HOMES)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


@settings(max_examples=300, deadline=None)
@given(LIKELY)
def test_the_text_of_a_parsed_text_parses_to_the_same(text: str) -> None:
    try:
        spec = Spec.read(text)
    except UserError:
        return
    assert Spec.read(str(spec)) == spec
    assert str(Spec.read(str(spec))) == str(spec)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1000,
        "-" * 5000 + "1",
        "Linear(" * 80 + ")" * 80,
        "R1(weight=" + "-" * 900 + "1)",
        "R1(weight=" + "+".join("1" * 3000) + ")",
        "R1(weight=" + "9" * 5000 + ")",
    ],
    ids=lambda text: f"{text[:12]}...",
)
def test_very_deep_or_long_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        make(text, *HOMES)


def test_every_component_builds_from_its_bare_name() -> None:
    for home in HOMES:
        for name in home.__all__:
            assert type(make(name, home)) is getattr(home, name)
    assert make("NonSaturating", losses) == NonSaturating()


@dataclass(frozen=True)
class Limits(Limited):
    some: int = number(1, low=1)
    share: float = number(0, low=0, high=1, whole=False)
    kind: str = choice("a", ("a", "b"))
    on: bool = flag(False)


@dataclass(frozen=True)
class OtherDefault(Limits):
    some: int = 3
    free: float = -1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"some": 0}, r"some=0 must be a whole number, at least 1"),
        ({"some": 1.0}, r"some=1.0 must be a whole number"),
        ({"share": 1.5}, r"share=1.5 must be a number, at least 0 and at most 1"),
        ({"share": math.nan}, "share=nan must be a number"),
        ({"kind": "c"}, "kind='c'; allowed are a, b"),
        ({"on": 1}, "on=1 must be True or False"),
    ],
)
def test_fields_have_limits(fields: dict[str, Any], message: str) -> None:
    for kind in (Limits, OtherDefault):  # a sub-class with another default keeps the limits
        with pytest.raises(UserError, match=f"^{kind.__name__}: {message}"):
            kind(**fields)
    assert OtherDefault(share=0.5) == OtherDefault(3, 0.5, "a", False, -1.0)
    assert repr(Limits()) == "Limits(some=1, share=0, kind='a', on=False)"
