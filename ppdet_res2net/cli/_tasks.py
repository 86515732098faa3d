"""What the commands that serve detectors and classifiers share: the recipe's architecture decides which it is."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdet_res2net.cli._classifier_form import full_model_name
from ppdet_res2net.cli._common import CommandParser
from ppdet_res2net.config import Config, is_classifier, load_config
from res2net_runtime.arguments import path_text
from res2net_runtime.image_lists import SELECTION_OPTIONS

if TYPE_CHECKING:
    from ppdet_res2net.classification.model import LoadedClassifier

__all__ = ["TaskParser", "load_classifier_of", "name_classes"]

logger = logging.getLogger(__name__)


class TaskOptions:
    """The options of a command that only one task has. They are a group of their own in ``--help``.

    Args:
        parser: The command's parser.
        tasks: ``detectors`` or ``classifiers``.
    """

    def __init__(self, parser: argparse.ArgumentParser, tasks: str) -> None:
        self.tasks = tasks
        self._group = parser.add_argument_group(f"only for {tasks}")
        self._defaults: dict[argparse.Action, Any] = {}

    def add(self, *flags: str, help: str, default: Any = None, **settings: Any) -> None:
        """Add an option, as ``add_argument`` does; the default is appended to its help."""
        if default is not None:
            help = f"{help} (default: {default})"
        # None until the defaults are filled in, which tells the options that were given from the others.
        self._defaults[self._group.add_argument(*flags, help=help, default=None, **settings)] = default

    def find_given(self, args: argparse.Namespace) -> list[str]:
        """Return those of the options that the command line has."""
        return [action.option_strings[0] for action in self._defaults if getattr(args, action.dest) is not None]

    def fill_defaults(self, args: argparse.Namespace) -> None:
        """Set the options that were not given to their defaults."""
        for action, default in self._defaults.items():
            if getattr(args, action.dest) is None:
                setattr(args, action.dest, default)


class TaskParser(CommandParser):
    """The parser of a command that serves detectors and classifiers.

    The recipe's ``architecture`` decides which of the two it is. Without a recipe it is a classifier, which ``--model`` or
    ``--weights`` names.

    Attributes:
        detectors: Options that only detectors have.
        classifiers: Options that only classifiers have.
        for_results: Names of options of detectors that need no model, and so no recipe.
    """

    def __init__(self, command: str, description: str, examples: Sequence[str] = ()) -> None:
        super().__init__(command, description, examples)
        self.add_recipe_arguments(required=False)
        self.add_argument(
            "--weights",
            metavar="W",
            help="weights to use: a file, url, zoo name or hf://OWNER/REPO; the same as -o weights=W. A classifier that was "
            "trained here needs neither -c nor --model",
        )
        self.add_device_argument()
        self.for_results: Sequence[str] = ()
        self.detectors, self.classifiers = TaskOptions(self, "detectors"), TaskOptions(self, "classifiers")
        self.classifiers.add(
            "--model",
            type=full_model_name,
            metavar="NAME",
            help="a classifier of the zoo, instead of -c; 'ppdet-res2net models' lists them",
        )
        self.classifiers.add(
            "--label_file", metavar="FILE", help="names of the classes, one per line, in the order of the labels"
        )

    def add_images_arguments(self) -> None:
        """Add ``--infer_img``, ``--infer_dir`` and ``--infer_list``, one of which is required, and what goes with them."""
        images = self.add_mutually_exclusive_group(required=True)
        images.add_argument("--infer_img", type=path_text, metavar="FILE", help="one image")
        images.add_argument("--infer_dir", type=path_text, metavar="DIR", help="a folder of images")
        images.add_argument(
            "--infer_list", type=path_text, metavar="FILE", help="a text file with the path of one image per line"
        )
        for flag, settings in SELECTION_OPTIONS.items():
            self.add_argument(flag, **settings)

    def parse_task(self, argv: Sequence[str] | None) -> tuple[argparse.Namespace, Config | None]:
        """Parse a command line and load its recipe. Options of the other task end the program with exit code 2.

        Returns:
            The arguments, and the recipe with ``--weights`` as its ``weights``; None for a classifier without a recipe.
        """
        args = self.parse_args(argv)
        if args.config is None:
            if args.opt:
                self.error("-o overrides the settings of a recipe; add -c CFG")
            needs_nothing = [name for name in self.for_results if getattr(args, name) is not None]
            if needs_nothing:
                self._refuse(self.classifiers, args, f"but --{needs_nothing[0]} is for detectors")
            else:
                self._refuse(self.detectors, args, "which need a recipe: add -c CFG")
            for options in (self.detectors, self.classifiers):
                options.fill_defaults(args)
            return args, None
        config = load_config(args.config, args.opt, trust_recipe=args.trust_recipe)
        if args.model is not None:
            self.error("-c and --model both say which model it is; leave one of them out")
        if args.weights is not None:
            config["weights"] = args.weights
        config.device = args.device
        others = self.detectors if is_classifier(config) else self.classifiers
        self._refuse(others, args, f"but '{config.name}' describes a {config.get('architecture')}")
        for options in (self.detectors, self.classifiers):
            options.fill_defaults(args)
        return args, config

    def require_model(self, args: argparse.Namespace) -> None:
        """End the program with exit code 2 if nothing says which model to use."""
        if not (args.config or args.model or args.weights):
            self.error("one of the arguments -c/--config --model --weights is required")

    def _refuse(self, options: TaskOptions, args: argparse.Namespace, reason: str) -> None:
        given = options.find_given(args)
        if given:
            verb = "is" if len(given) == 1 else "are"
            self.error(f"{', '.join(given)} {verb} only for {options.tasks}, {reason}")


def load_classifier_of(args: argparse.Namespace, config: Config | None) -> LoadedClassifier:
    """Load the classifier that a command line names, on its device or the recipe's; without both, on a GPU if there is one."""
    import paddle

    from ppdet_res2net.classification.model import load_classifier
    from ppdet_res2net.training.device import select_device

    settings = config
    if settings is None:
        settings = Config({"use_gpu": paddle.is_compiled_with_cuda()}, Path("no_recipe.yml"))
        settings.device = args.device
    select_device(settings)
    return load_classifier(args.model, args.weights, config)


def name_classes(classifier: LoadedClassifier, label_file: str | None) -> LoadedClassifier:
    """Return the classifier with the class names of a file. Without a file, warn if its classes have no names."""
    from ppdet_res2net.data.classification.names import read_class_names

    if label_file:
        return dataclasses.replace(classifier, class_names=read_class_names(label_file).names)
    if classifier.class_names is None:
        logger.warning(
            "classes are shown by number, because published weights contain no class names. Pass --label_file FILE; for "
            "ImageNet's 1000 classes, LOC_synset_mapping.txt (Kaggle's download) or imagenet1k_label_list.txt (PaddleClas)"
        )
    return classifier
