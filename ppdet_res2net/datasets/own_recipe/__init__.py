"""Writes a recipe for people's own data: finds the annotated images, splits and measures them, and chooses every setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppdet_res2net.datasets.own_recipe.find import FORMATS, FoundSets, find_sets, take_images
from ppdet_res2net.datasets.own_recipe.measure import Measures, measure
from ppdet_res2net.datasets.own_recipe.prepare import Prepared, prepare
from ppdet_res2net.datasets.own_recipe.settings import SIZES, Settings, choose_settings
from ppdet_res2net.datasets.own_recipe.source import Source
from ppdet_res2net.datasets.own_recipe.text import recipe_text
from ppdet_res2net.datasets.own_recipe.tree import TRAIN, VAL, FileTree
from ppdet_res2net.errors import ConfigError, DatasetError
from ppdet_res2net.files import replacing

__all__ = ["FORMATS", "KINDS", "SIZES", "OwnRecipe", "RecipeOptions", "create_recipe"]

KINDS = ("boxes", "masks")


@dataclass(frozen=True)
class RecipeOptions:
    """What a user may say about a dataset.

    Attributes:
        data: The folder of the dataset; or its annotation file, or its ``data.yaml``.
        train: Annotation file to train on, in COCO's format; None to look for it.
        val: The same, to evaluate on; None to take images of ``train``.
        images: Folders of the images: none to look for them, one for both files, or one for each.
        form: A key of :data:`FORMATS`, if there are annotations of several formats.
        names: File with the class names in their order.
        size: A key of :data:`SIZES`.
        kind: One of :data:`KINDS`; None for masks where every object has one.
        val_fraction: Share of the images to evaluate on, if there is one set only.
        seed: Chooses these images.
    """

    data: Path
    train: Path | None = None
    val: Path | None = None
    images: Sequence[Path] = ()
    form: str | None = None
    names: Path | None = None
    size: str = "small"
    kind: str | None = None
    val_fraction: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class OwnRecipe:
    """A recipe, and how it came about.

    Attributes:
        path: The file.
        found: The sets that were found.
        prepared: The dataset.
        measures: What was measured.
        settings: What was chosen.
    """

    path: Path
    found: FoundSets
    prepared: Prepared
    measures: Measures
    settings: Settings


def create_recipe(out: Path, options: RecipeOptions, show_progress: bool = False) -> OwnRecipe:
    """Write a recipe, and annotation files beside it where the dataset's own cannot be used as they are.

    Those files are in a folder with the name of the recipe and ``_annotations``. Nothing is written to the dataset.

    Args:
        out: The recipe to write.
        options: The dataset, and what is known about it.
        show_progress: Show a bar while images are read.

    Raises:
        ConfigError: A file would be replaced, or options do not go together.
        DatasetError: There are no annotations, it is not certain which ones are meant, or they have errors.
    """
    folder = out.with_name(f"{out.stem}_annotations")
    for path, is_there in ((out, out.exists()), (folder, folder.exists() and any(folder.iterdir()))):
        if is_there:
            raise ConfigError(f"'{path}' exists already. Remove it, or choose another name with --out.")
    found, tree = _find(options, folder)
    prepared = prepare(found, tree, folder, options.names, options.val_fraction, options.seed, show_progress)
    measures = measure(prepared.train.report, prepared.val.report)
    settings = choose_settings(measures, options.size, options.kind)
    text = recipe_text(out, prepared, measures, settings)
    prepared.write()
    try:
        with replacing(out) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"'{out}' cannot be written: {error}. Choose another place with --out.") from error
    return OwnRecipe(out, found, prepared, measures, settings)


def _find(options: RecipeOptions, folder: Path) -> tuple[FoundSets, FileTree]:
    data, train, form = options.data, options.train, options.form
    if data.is_file():
        if data.suffix.lower() == ".json" and train is None:
            train = data
        elif train is None and data.suffix.lower() in (".yaml", ".yml", ".data"):
            form = form or "yolo"
        elif train is None:
            raise DatasetError(
                f"'{data}' is a file; expected the folder of a dataset, an annotation file in COCO's format (.json) or a "
                "data.yaml. Unpack an archive first."
            )
        data = data.parent.parent if data.parent.name == "annotations" else data.parent
    tree = FileTree.of(data, without=[folder])
    if options.val is not None and train is None:
        raise ConfigError("--val needs --train: pass both annotation files, or none to look for them.")
    if train is None:
        return find_sets(tree, form, options.names, options.images), tree
    for file in filter(None, (train, options.val)):
        if not file.is_file():
            raise DatasetError(f"there is no annotation file '{file}'. Check the path.")
    val = None if options.val is None else Source("coco", options.val, VAL)
    return take_images(FoundSets(Source("coco", train, TRAIN), val, None), options.images), tree
