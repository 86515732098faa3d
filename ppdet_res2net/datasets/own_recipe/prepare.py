"""Makes a training and a validation set of what was found: checked, with the same classes, and split if need be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ppdet_res2net.data.annotations import write_annotations
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.instances import NO_MASK
from ppdet_res2net.data.problems import list_first, say_count
from ppdet_res2net.datasets.check import DatasetReport, DatasetSource, check_contents, refuse_errors, say_warnings
from ppdet_res2net.datasets.own_recipe.find import FoundSets
from ppdet_res2net.datasets.own_recipe.source import ReadSet, read_source
from ppdet_res2net.datasets.own_recipe.tree import TRAIN, VAL, FileTree
from ppdet_res2net.datasets.rearrange.alike import group_to_split
from ppdet_res2net.datasets.rearrange.split import choose_held_out, select_images

__all__ = ["Prepared", "PreparedSet", "prepare"]


@dataclass(frozen=True)
class PreparedSet:
    """A set that can be trained or evaluated on.

    Attributes:
        annotation_path: Its annotation file.
        image_dir: The folder of its images.
        report: What the check has found.
    """

    annotation_path: Path
    image_dir: Path
    report: DatasetReport


@dataclass
class Prepared:
    """A dataset that can be trained on.

    Attributes:
        train: The images to train on.
        val: The images to evaluate on.
        notes: What was done to get there, and what to know about the data; a sentence each.
        contents: The annotation files to write, by their paths.
    """

    train: PreparedSet
    val: PreparedSet
    notes: list[str] = field(default_factory=list)
    contents: dict[Path, dict] = field(default_factory=dict)

    def write(self) -> None:
        """Write the annotation files.

        Raises:
            DatasetError: One cannot be written.
        """
        for path, content in self.contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_annotations(content, path)


def prepare(
    found: FoundSets,
    tree: FileTree,
    folder: Path,
    names: Path | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    show_progress: bool = False,
) -> Prepared:
    """Read, check and split what was found. Nothing is written; see :meth:`Prepared.write`.

    Args:
        found: The sets.
        tree: The dataset.
        folder: Where new annotation files are to be.
        names: A file with the class names in their order.
        val_fraction: The share of the images to evaluate on, if they have to be taken from the others.
        seed: Chooses these images.
        show_progress: Show a bar while images are read.

    Raises:
        DatasetError: A file is missing or wrong, or the check finds errors.
    """
    sets = [read_source(source, tree, names) for source in found.all]
    notes = list(dict.fromkeys(f"{note}." for one in sets for note in one.notes))
    notes += _drop_root_category(sets)
    if len(sets) == 2:
        notes += _unite_categories(*sets)
    labels = (TRAIN, VAL) if len(sets) == 2 else ("the dataset",)
    sources = [
        DatasetSource(one.source.annotations, one.image_dir, label) for one, label in zip(sets, labels, strict=True)
    ]
    reports = check_contents([(source, one.content) for source, one in zip(sources, sets)], show_progress=show_progress)
    refuse_errors(reports, are_files=all(one.is_written for one in sets))
    notes += [f"{report.source.name}: {warning}" for report in reports for warning in say_warnings(report, [NO_MASK])]
    contents = [one.content for one in sets]
    if len(sets) == 1:
        contents = _split(sets[0], reports[0], val_fraction, seed, notes)
        subsets = [(replace(sources[0], name=role), content) for role, content in zip((TRAIN, VAL), contents)]
        reports, sets = check_contents(subsets, read_images=False), [replace(sets[0], is_written=False)] * 2
        notes += _say_absent(*reports)
    paths = [
        one.source.annotations if one.is_written else folder / f"{role}.json" for one, role in zip(sets, (TRAIN, VAL))
    ]
    train, val = (
        PreparedSet(path, one.image_dir, report) for path, one, report in zip(paths, sets, reports, strict=True)
    )
    to_write = {path: content for path, one, content in zip(paths, sets, contents) if not one.is_written}
    if found.test is not None:
        notes.append(f"'{found.test.annotations}' is left for a final test: neither training nor evaluation uses it.")
    return Prepared(train, val, notes, to_write)


def _drop_root_category(sets: Sequence[ReadSet]) -> list[str]:
    """Remove the category that Roboflow puts above the classes: it has no object, and is no class."""
    files = [parse_coco(one.content) for one in sets]
    for category in files[0].categories:
        others = [entry for one in sets for entry in one.content["categories"] if entry.get("name") != category.name]
        is_root = bool(others) and all(entry.get("supercategory") == category.name for entry in others)
        is_used = any(one.category_id == category.id for file in files for one in file.annotations)
        if is_root and not is_used:
            for one in sets:
                kept = [entry for entry in one.content["categories"] if entry.get("name") != category.name]
                one.content, one.is_written = {**one.content, "categories": kept}, False
            return [
                f"The category '{category.name}' has no objects and is the supercategory of all others; it is left out."
            ]
    return []


def _unite_categories(train: ReadSet, val: ReadSet) -> list[str]:
    """Give the validation set the ids and the order of the training set's categories, if all its names are known there.

    A converted set has the classes that occur in it. One that occurs in the validation set only is added to the training set.
    """
    first, other = parse_coco(train.content), parse_coco(val.content)
    pairs = [[(category.id, category.name) for category in file.categories] for file in (first, other)]
    ids = {name: number for number, name in pairs[0]}
    added = [name for _, name in pairs[1] if name not in ids]
    if pairs[0] == pairs[1] or len(ids) < len(pairs[0]) or (added and train.source.form == "coco"):
        return []
    ids |= {name: number for number, name in enumerate(added, max(ids.values()) + 1)}
    categories = [*train.content["categories"], *({"id": ids[name], "name": name} for name in added)]
    if added:
        train.content, train.is_written = {**train.content, "categories": categories}, False
    new_ids = {category.id: ids[category.name] for category in other.categories}
    written = val.content["annotations"]
    annotations = [{**written[one.position], "category_id": new_ids[one.category_id]} for one in other.annotations]
    annotations += [written[one.position] for one in other.unknown]
    was_written, val.is_written = val.is_written, False
    val.content = {**val.content, "categories": categories, "annotations": annotations}
    if was_written:
        return [
            "The validation set numbers its classes in another way than the training set; its copy has the same numbers."
        ]
    return []


def _say_absent(train: DatasetReport, val: DatasetReport) -> list[str]:
    """Say which classes are in one of the two parts only."""
    present = [{one["name"] for one in report.statistics["classes"] if one["objects"]} for report in (train, val)]
    unknown, untrained = (
        list_first(map(repr, sorted(names))) for names in (present[0] - present[1], present[1] - present[0])
    )
    notes = [f"No image to evaluate on has {unknown}: no AP will be known there."] if unknown else []
    return (
        [*notes, f"No image to train on has {untrained}: it cannot be learned. Annotate more images."]
        if untrained
        else notes
    )


def _split(one: ReadSet, report: DatasetReport, fraction: float, seed: int, notes: list[str]) -> list[dict]:
    groups, note = group_to_split(report.pictures, fraction)
    held_out = choose_held_out(report.file, fraction, seed, groups)
    alike = len(groups) - len(set(groups.values()))
    together = f"; {say_count(alike, 'image')} that look like another one stayed with it" if alike else ""
    notes.append(
        f"There was one set, so {len(held_out)} of {say_count(len(groups), 'image')} are for evaluation: every class in "
        f"proportion, seed {seed}{together}."
    )
    notes += [note] if note else []
    others = {image.id for image in report.file.images} - held_out
    return [select_images(one.content, report.file, chosen) for chosen in (others, held_out)]
