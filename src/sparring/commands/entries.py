"""Entries of the catalog: one for each name, with its documentation, from the tables that hold the names.

Importing this module needs no torch; finding anything but recipes and their fields does.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sparring.recipe import Recipe, load_recipe, recipe_names

GIVEN = ("classes", "codes", "source_channels")  # arguments of networks that the task sets, not a text
BETTER = {-1: "lower is better", 1: "higher is better"}


@dataclass(frozen=True)
class Entry:
    """One name and its documentation.

    Attributes:
        heading: the name with its fields and their defaults, as a recipe holds it.
        about: one sentence.
        text: the whole documentation.
        use: the option or command that takes it.
        fields: values by name: defaults, or what a recipe changes.
        details: lines on fields, limits and needs.
        module: where it is defined; "" if it has no Python name.
        also: other names for it, such as the values of a metric.
    """

    name: str
    heading: str
    about: str
    text: str
    use: str
    fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
    details: tuple[str, ...] = ()
    module: str = ""
    also: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        plain = {k: v if isinstance(v, bool | int | float | str | None) else repr(v) for k, v in self.fields.items()}
        return {"name": self.name, "about": self.about, "fields": plain, "use": self.use, "module": self.module}


def summary(text: str) -> str:
    """The first sentence of a documentation, without its full stop."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`(])", paragraph)[0].removesuffix(".")


def components(home: str, use: str) -> Iterator[Entry]:
    """The components of a home module, by its `__all__`."""
    module = import_module(home)
    for name in module.__all__:
        yield _component(name, getattr(module, name), use)


def networks(use: str) -> Iterator[Entry]:
    """Generators and discriminators; `use` holds an option for each."""
    from sparring import networks as home

    for name in home.__all__:
        player = use.split(", ")[name.endswith("Discriminator")]
        yield _component(name, getattr(home, name), player, hidden=GIVEN)


def inputs(codes: bool, use: str) -> Iterator[Entry]:
    """Distributions of the generator's input: codes, which a discriminator reads off samples, or latents."""
    from sparring.game import inputs as home

    for name in home.__all__:
        if hasattr(getattr(home, name), "surprise") == codes:
            yield _component(name, getattr(home, name), use)


def _component(name: str, factory: Callable[..., Any], use: str, hidden: tuple[str, ...] = ()) -> Entry:
    """A component with the fields that a text can set."""
    parameters = inspect.signature(factory).parameters.values()
    fields = {p.name: p for p in parameters if p.default is not p.empty and p.name not in hidden}
    shown = [f"{key}={p.default!r}" for key, p in fields.items()]
    limits = {f.name: limits_text(f.metadata) for f in getattr(factory, "__dataclass_fields__", {}).values()}
    details = []
    for key, p in fields.items():
        kind, limit = str(p.annotation).replace("Scheduled", "number or schedule"), limits.get(key, "")
        details.append(f"{key}: {kind} = {p.default!r}{f'  ({limit})' if limit else ''}")
    text = inspect.getdoc(factory) or ""
    return Entry(
        name=name,
        heading=f"{name}({', '.join(shown)})",
        about=summary(text),
        text=text,
        use=use.format(call=f"{name}({shown[0] if shown else ''})"),
        fields={key: p.default for key, p in fields.items()},
        details=tuple(details),
        module=factory.__module__,
    )


def limits_text(metadata: Mapping[str, Any]) -> str:
    """The limits in a field's metadata, in words; "" if it has none."""
    limits, allowed = metadata.get("limits", {}), allowed_texts(metadata)
    low, high = limits.get("low", float("-inf")), limits.get("high", float("inf"))
    words = [f"one of {', '.join(allowed)}"] if allowed else []
    words += [f"{'above' if limits.get('open_low') else 'at least'} {low:g}"] if low > float("-inf") else []
    words += [f"at most {high:g}"] if high < float("inf") else []
    return ", ".join(words)


def allowed_texts(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that a field allows; empty if it allows any."""
    allowed = getattr(metadata.get("check"), "keywords", {}).get("allowed", ())
    return allowed if isinstance(allowed, tuple) else ()


def option_of(field: str) -> str:
    """The option of `sparring train` for a field of the recipe."""
    return f"--{field.replace('_', '-')}"


def recipes(use: str) -> Iterator[Entry]:
    """The named recipes, each with the fields that differ from the defaults."""
    for name in recipe_names():
        recipe = load_recipe(name)
        values = {f.name: (getattr(recipe, f.name), f.default) for f in dataclasses.fields(Recipe) if f.name != "about"}
        changed = {key: value for key, (value, default) in values.items() if value != default}
        details = tuple(f"{key} = {value!r}" for key, value in changed.items())
        text = f"{recipe.about}\n\n`sparring recipes {name}` prints all fields as TOML."
        yield Entry(name, name, recipe.about, text, use.format(name=name), changed, details)


def recipe_fields(use: str) -> Iterator[Entry]:
    """The fields of a recipe."""
    for field in dataclasses.fields(Recipe):
        option, default = option_of(field.name), field.default
        value = f'"{default}"' if isinstance(default, str) else str(default)
        about, limits = field.metadata["help"], limits_text(field.metadata)
        details = (*([limits] if limits else []), f"group: {field.metadata['group']}")
        yield Entry(
            name=field.name,
            heading=f"{field.name} = {repr(default).lower() if isinstance(default, bool) else value}",
            about=about,
            text=about,
            use=option if isinstance(default, bool) else use.format(option=option, value=value),
            fields={"default": default},
            details=details,
            module=Recipe.__module__,
        )


def data_sets(use: str) -> Iterator[Entry]:
    """The named data sets."""
    from sparring.data.load import PAIR_SETS, SPLIT_SETS, TWO_SETS
    from sparring.data.sets.mnist import load_digits
    from sparring.data.sets.toys import photo_source

    own: dict[str, Callable[..., Any]] = {"digits": load_digits, "photos": photo_source}
    for name, loader in {**own, **SPLIT_SETS, **PAIR_SETS, **TWO_SETS}.items():
        text = inspect.getdoc(loader) or ""
        yield Entry(name, name, summary(text), text, use.format(name=name), module=loader.__module__)


def metrics(use: str) -> Iterator[Entry]:
    """The metrics of generated samples, then those of translated images; some names are in both."""
    from sparring import metrics as home
    from sparring.evaluation.measures import MEASURES
    from sparring.evaluation.options import INCEPTION_NAMES
    from sparring.evaluation.similarity import SIMILARITY

    functions = {name: getattr(home, name) for name in dir(home) if inspect.isfunction(getattr(home, name))}
    for where, table in (("", MEASURES), (" (image-to-image)", SIMILARITY)):
        for name, measure in table.items():
            details = [f"{value}: {BETTER[sign]}" for value, sign in measure.better.items()]
            details += [f"needs {need.text}" for need in measure.needs]
            details += [] if measure.usual else ["computed only if it is named"]
            text, module = f"{measure.about}.", type(measure).__module__
            if name in functions:
                text, module = f"{text}\n\n{inspect.getdoc(functions[name])}", functions[name].__module__
            heading, about = f"{name}{where}", measure.about
            also = (*measure.better, *(short for short, full in INCEPTION_NAMES.items() if full == name))
            yield Entry(name, heading, about, text, use.format(name=name), {}, tuple(details), module, also)


def failures(use: str) -> Iterator[Entry]:
    """The failures that the doctor diagnoses, with the evidence for each and the fixes."""
    from sparring.doctor.diagnosis.fixes import FIXES
    from sparring.doctor.diagnosis.rules import FAILURES, RULES

    for name in FAILURES:
        rules = [rule for rule in RULES if rule.failure == name]
        limits = {limit.name: limit for rule in rules for limit in (*rule.all_of, *rule.any_of)}
        details = [f"evidence: {key}: {limit.means} (normal: {limit.normal})" for key, limit in limits.items()]
        details += [f"fix: {about}" for about, _ in FIXES.get(name, ())]
        text = "\n\n".join(dict.fromkeys(rule.why for rule in rules))
        yield Entry(name, name, summary(text), text, use, details=tuple(details), also=tuple(limits))
