"""Writes the pages that are derived from declarations: `python -m scripts.make_docs`.

`PAGES` lists them, and which declarations each comes from is in its function. Some are written by
hand but for a table. A test compares them all with what stands in the tree.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import filters
from cogvlm.data.augment import Augment
from cogvlm.data.tasks import TASKS
from cogvlm.model import config as model_config
from cogvlm.model import towers
from cogvlm.model.presets import PRESETS as MODELS
from cogvlm.model.registry import TEMPLATES, TOWERS
from cogvlm.training.config import TrainConfig
from cogvlm.training.presets import ABLATIONS, RECIPES
from cogvlm.training.recipes import Recipe
from examples import costs
from grounding.detectors.forms import detector_forms
from pipelines.download_job.options import DOWNLOAD_OPTIONS
from pipelines.filter_job.options import FILTER_OPTIONS, MIX_OPTIONS
from pipelines.ground_job.options import (
    BOX_OPTIONS,
    LABEL_OPTIONS,
    PHRASE_OPTIONS,
    SELECT_OPTIONS,
)
from pipelines.harness.options import LAUNCH_OPTIONS, OUTPUT, Option
from pipelines.metadata.sources import SOURCES
from pipelines.pack_job.format import Format
from pipelines.pack_job.formats import FORMATS
from pipelines.pack_job.options import SET_OPTIONS
from scripts import commands
from shards.commandline import say
from shards.outcomes import TRANSIENT, Outcome, img2dataset_status
from shards.schema import BOXED, KEPT, LABELS, LEVELS, PHRASES, SIDECAR

DOCS = Path(__file__).resolve().parents[1] / "docs"

OPTION_GROUPS: dict[str, Sequence[Option]] = {
    "Output": (OUTPUT,),
    "Filter stage": FILTER_OPTIONS,
    "Mix stage": MIX_OPTIONS,
    "Download stage": DOWNLOAD_OPTIONS,
    "Grounding: phrases": PHRASE_OPTIONS,
    "Grounding: labels": LABEL_OPTIONS,
    "Grounding: boxes": BOX_OPTIONS,
    "Grounding: selection": SELECT_OPTIONS,
    "Packing annotated sets": SET_OPTIONS,
    "Running": LAUNCH_OPTIONS,
}
"""What the jobs declare, some of it shared."""


def filters_page() -> str:
    """Return the page of presets and rules."""
    lines = [
        "# Filters",
        "",
        "Made from the declarations by `make docs`. Rules run in this order, and a rejection is",
        "credited to the first failing rule. Safety rules also drop the URL from every other row.",
    ]
    for preset in filters.PRESETS.values():
        lines += ["", f"## Preset `{preset.name}`", "", preset.summary, ""]
        lines += [f"- {line}" for line in preset.deviations]
        lines += ["", *_table(("rule", "reasons", "what a kept row has", "safety", "from"))]
        for rule in filters.describe(preset.name):
            reasons = ", ".join(f"`{reason}`" for reason in rule.reasons)
            safety = "yes" if rule.safety else ""
            lines.append(_row((f"`{rule.name}`", reasons, rule.summary, safety, rule.origin)))
    lines += ["", "## Parameters", "", "`--set SOURCE.FILTER.PARAM=VALUE`, SOURCE may be `*`.", ""]
    lines += _table(("parameter", "default", "meaning"))
    for rule in filters.describe():
        for parameter in rule.parameters:
            name = f"`{rule.name}.{parameter.name}`"
            lines.append(_row((name, f"`{parameter.default}`", parameter.help)))
    return _page(lines)


def options_page() -> str:
    """Return the page of command-line options: groups that jobs share, then every command."""
    lines = [
        "# Options",
        "",
        "Made from the declarations by `make docs`. An option that affects the output is part of",
        "its stage's fingerprint: a restart with another value stops before it writes anything.",
    ]
    for title, options in OPTION_GROUPS.items():
        lines += ["", f"## {title}", ""]
        lines += _table(("option", "default", "affects output", "meaning"))
        for option in options:
            default = "" if option.default is None or option.flag else f"`{option.default}`"
            affects = "yes" if option.affects_output else ""
            lines.append(_row((f"`--{option.name}`", default, affects, option.help)))
    for name in commands.COMMANDS:
        lines += ["", f"## `python -m {name}`", "", *_command(name)]
    lines += ["", "## Sources", "", *_table(("name", "rank", "what"))]
    lines += [_row((f"`{s.name}`", str(s.rank), s.summary)) for s in SOURCES.values()]
    return _page(lines)


def _command(name: str) -> list[str]:
    command = commands.read(name, OPTION_GROUPS)
    links = ", ".join(f"[{title}](#{anchor(title)})" for title in command.groups)
    lines = [f"The options under {links}, and:", ""] if command.groups else []
    lines += _table(("option", "meaning"))
    return lines + [_row((_names(names), meaning)) for names, meaning in command.options]


def anchor(heading: str) -> str:
    """Return what a link to a heading ends with, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def columns_page() -> str:
    """Return the page of columns and outcomes."""
    lines = [
        "# Columns and outcomes",
        "",
        "Made from the declarations by `make docs`.",
        "",
        *_columns("kept/*.parquet", KEPT),
        *_columns("shards/*.parquet", SIDECAR),
        *_columns("phrases/*.parquet of a grounding run", PHRASES),
        *_columns("labels/*.parquet of a grounding run", LABELS),
        *_columns("choice/*.parquet of a grounding run", BOXED),
        "## Outcomes of a planned row",
        "",
        "Reasons of rules that look at the decoded image (`aspect_ratio`) come in addition.",
        "",
        *_table(("outcome", "img2dataset's status", "may change on another try")),
        *[
            _row((f"`{o}`", img2dataset_status(o), "yes" if o in TRANSIENT else ""))
            for o in Outcome
        ],
    ]
    return _page(lines)


def model_settings_page() -> str:
    """Return the page of model settings and presets."""
    lines = [
        "# Model settings",
        "",
        "Made from `cogvlm/model/config.py`, `variants`, `towers` and `templates` by `make docs`.",
        "",
        "## Presets",
        "",
        *_table(("preset", "what", "tokens of an image")),
    ]
    for name, variant in MODELS.items():
        lines.append(_row((f"`{name}`", variant.help, str(variant.config().span_size))))
    lines += ["", "## Towers", "", "What `vision.tower` may be.", "", *_declared(TOWERS)]
    lines += ["", "## Templates", "", "What `template` may be.", "", *_declared(TEMPLATES)]
    for name, part in {"": model_config.ModelConfig, **_parts()}.items():
        lines += ["", f"## {f'`{name}`' if name else 'The model'}", ""]
        lines += [inspect.getdoc(part) or "", "", *_settings(part, f"{name}." if name else "")]
    return _page(lines)


def _declared(declarations: Mapping[str, Any]) -> list[str]:
    """Return the table of what is declared by name."""
    rows = [_row((f"`{name}`", declared.help)) for name, declared in declarations.items()]
    return [*_table(("name", "what")), *rows]


def training_page() -> str:
    """Return the page on training with a fresh table of presets."""
    rows = _table(("preset", "what", "trains", "learning rate", "steps x batch", "px", "from"))
    rows += [_recipe_row(name, make) for name, make in RECIPES.items()]
    return _filled_in("training.md", "presets", rows)


def grounding_page() -> str:
    """Return the page on grounding with a fresh table of detectors."""
    rows = _table(("`--detector`", "what", "`--detector_options`"))
    rows += [
        _row((f"`{form.form}`", form.about, _names(form.options)))
        for form in detector_forms().values()
    ]
    return _filled_in("grounding.md", "detectors", rows)


def _names(options: Sequence[str] | None) -> str:
    return "any" if options is None else ", ".join(f"`{name}`" for name in options)


def recipes_page() -> str:
    """Return the page on recipes with fresh tables of costs."""
    return _filled_in("recipes.md", "costs", costs.tables(costs.Assumed()))


def packing_page() -> str:
    """Return the page on packing with a fresh table of formats."""
    rows = _table(("`--format`", "level", "`--input`", "besides"))
    for form in sorted(FORMATS.values(), key=lambda form: (LEVELS.index(form.level), form.name)):
        rows.append(_row((f"`{form.name}`", form.level, form.about, _besides(form))))
    return _filled_in("packing.md", "formats", rows)


def _besides(form: Format) -> str:
    needs = (
        form.annotations and f"`--annotations`, {form.annotations}",
        form.box_format and "`--box_format`",
        form.images_of and "`--images` only where they lie elsewhere",
        form.level == "text" and "no `--images`",
        form.coco and ("COCO" if form.ids else "`--allow_eval_overlap`"),
    )
    return "; ".join(need for need in needs if need)


def _filled_in(name: str, block: str, lines: Iterable[str]) -> str:
    """Return a hand-written page with fresh lines between the two comments of a block."""
    page = DOCS.joinpath(name).read_text(encoding="utf-8")
    before, start, rest = page.partition(f"<!-- {block}: made by `make docs` -->\n")
    _, end, after = rest.partition(f"<!-- end of {block} -->\n")
    assert start and end, f"{name} has no block {block}"
    return before + start + _page(lines) + end + after


def _recipe_row(name: str, make: Callable[[], Recipe]) -> str:
    recipe = make()
    config = recipe.config
    trains = [
        f"{group} x {config.lr_scale[group]:g}" if group in config.lr_scale else group
        for group in config.trains
    ]
    sides = [f"{config.image_size or 'the model'}", *(str(side) for _, side in config.resize_at)]
    return _row(
        (
            f"`{name}`",
            inspect.getdoc(make) or "",
            ", ".join(trains),
            f"{config.lr:g}",
            f"{config.steps:,} x {config.global_batch:,}",
            ", then ".join(sides),
            recipe.source if recipe.published else f"**{recipe.source[:4]}**{recipe.source[4:]}",
        )
    )


def training_settings_page() -> str:
    """Return the page of training settings, and of what each preset says about its own."""
    lines = [
        "# Training settings",
        "",
        "Made from `cogvlm/training/config.py` and `cogvlm/training/recipes` by `make docs`.",
        "",
        inspect.getdoc(TrainConfig) or "",
        "",
        *_settings(TrainConfig),
        "",
        "## `augment`",
        "",
        inspect.getdoc(Augment) or "",
        "",
        *_settings(Augment, "augment."),
        "",
        "## Tasks",
        "",
        "What `task` and the entries of `data` may say.",
        "",
        *_declared(TASKS),
        "",
        "## Presets",
        "",
        "Settings with *ours* in the last column have a value that no source states.",
    ]
    for name, make in RECIPES.items():
        recipe = make()
        lines += ["", f"### `{name}`", "", f"{inspect.getdoc(make)} Source: {recipe.source}.", ""]
        lines += [f"- {note}" for note in recipe.notes]
        lines += [""] * bool(recipe.notes) + _table(("setting", "value", ""))
        for field in dataclasses.fields(TrainConfig):
            value = getattr(recipe.config, field.name)
            if field.name in recipe.published or value != getattr(TrainConfig(), field.name):
                mark = "" if field.name in recipe.published else "ours"
                lines.append(_row((f"`{field.name}`", f"`{value!r}`", mark)))
    lines += ["", "## Ablations", "", *_table(("row", "`--override`", "other settings"))]
    for name, row in ABLATIONS.items():
        override = "<br>".join(f"`{text}`" for text in row.override)
        changes = "<br>".join(f"`{field}={value!r}`" for field, value in row.changes.items())
        lines.append(_row((f"`{name}`", override, changes)))
    return _page(lines)


def _settings(part: Any, prefix: str = "") -> list[str]:
    """Return the table of a config class."""
    lines, meanings = _table(("setting", "default", "meaning")), _field_docs(part)
    for field in dataclasses.fields(part):
        has_default = field.default is not dataclasses.MISSING
        default = f"`{field.default!r}`" if has_default else ""
        lines.append(_row((f"`{prefix}{field.name}`", default, meanings[field.name])))
    return lines


def _parts() -> dict[str, Any]:
    return {
        "vision": towers.Vision,
        "projector": model_config.Projector,
        "expert": model_config.Expert,
        "attn": model_config.Attn,
        "position": model_config.Position,
        "rope": model_config.Rope,
        "rope.scaling": model_config.RopeScaling,
        "loss": model_config.Loss,
    }


def _field_docs(part: type) -> dict[str, str]:
    """Return the sentence under each field of a config class."""
    body = ast.parse(inspect.getsource(part)).body[0].body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


PAGES: dict[str, Callable[[], str]] = {
    "filters.md": filters_page,
    "options.md": options_page,
    "columns.md": columns_page,
    "model_settings.md": model_settings_page,
    "training.md": training_page,
    "grounding.md": grounding_page,
    "recipes.md": recipes_page,
    "packing.md": packing_page,
    "training_settings.md": training_settings_page,
}


def _columns(title: str, schema: pa.Schema) -> list[str]:
    rows = [_row((f"`{field.name}`", f"`{field.type}`")) for field in schema]
    name, _, rest = title.partition(" ")
    heading = f"## `{name}` {rest}".rstrip()
    return [heading, "", *_table(("column", "type")), *rows, ""]


def _table(names: Iterable[str]) -> list[str]:
    names = list(names)
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write every page that changes, and name it."""
    for name, render in PAGES.items():
        page, text = DOCS / name, render()
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
            say(f"{page.relative_to(DOCS.parent)} is new")
    return 0


if __name__ == "__main__":
    sys.exit(main())
