"""No key is accepted and ignored: each one is read, is harmless for a reason, or is refused."""

from __future__ import annotations

import copy

import pytest
from PIL import Image

from ppdet_res2net.config import Config, load_config
from ppdet_res2net.config.class_settings import TransformList
from ppdet_res2net.config.keys import EXPORT_KEYS, PLAIN_KEYS, READER_KEYS
from ppdet_res2net.config.kinds import Kind
from ppdet_res2net.config.unsupported import HARMLESS_READER_KEYS, find_unsupported
from ppdet_res2net.config.yaml_io import _Dumper
from ppdet_res2net.detection.model import Classes
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.training.step import _amp_dtype
from ppdet_res2net.training.trainer import TrainOptions, run_training
from tests.helpers.toy_task import train_toy
from tests.helpers.training_runs import make_config, messages

DETECTOR, CLASSIFIER = "demo_mask_rcnn", "digits"

# Settings that are refused, each with a part of the message that says why.
REFUSED = {
    DETECTOR: {
        "amp_level=O2": "only 'O1' is supported. Remove it, or pass -o amp_level=O1.",
        "use_xpu=true": "this package runs on CPUs and NVIDIA GPUs only. Remove it, or pass -o use_xpu=false.",
        "use_npu=true": "this package runs on CPUs and NVIDIA GPUs only",
        "use_mlu=true": "this package runs on CPUs and NVIDIA GPUs only",
        "save_prediction_only=true": "an evaluation always computes AP",
        "print_flops=true": "operations are not counted",
        "label_smoothing=0.1": "only the loss of a classifier smooths labels. Remove it, or pass -o label_smoothing=0.",
        "export.post_process=false": "an exported graph always decodes boxes",
        "export.nms=false": "an exported graph always removes overlapping boxes",
        "export.benchmark=true": "an exported graph always decodes boxes",
        "export.fuse_conv_bn=true": "the inference engine folds normalization itself",
        "TrainReader.collate_batch=true": "images have different numbers of objects, so targets always stay lists",
        "TrainReader.drop_empty=true": "TrainDataset.allow_empty says whether images without objects are trained",
        "EvalReader.drop_empty=true": "a reader leaves out no image",
        "EvalReader.shuffle=true": "an evaluation uses every image once, in the order of the file",
        "EvalReader.drop_last=true": "an evaluation uses every image once. Remove it, or pass -o",
        "TestReader.drop_last=true": "an evaluation uses every image once",
        "TestReader.inputs_def={image_shape: [3, 640, 640]}": "an exported graph takes images of any size",
        "TrainReader.inputs_def={num_max_boxes: 90}": "an exported graph takes images of any size",
        "TrainReader.num_classes=3": "is that of the whole configuration. Remove it.",
        "TestReader.fuse_normalize=true": "images are normalized before the graph",
        "TrainReader.mixup_epoch=3": "batches are made of whole images, in every epoch alike",
        "TrainReader.cutmix_epoch=3": "batches are made of whole images",
        "TrainReader.mosaic_epoch=3": "batches are made of whole images",
        "TrainReader.pre_img_epoch=3": "batches are made of whole images",
    },
    CLASSIFIER: {
        "metric=COCO": "a classifier is always evaluated by top-1 and top-5. Remove it.",
        "classwise=true": "a classifier's accuracy per class is printed by 'eval --classwise'",
        "output_eval=folder": "the evaluation of a classifier writes no detections",
        "EvalReader.batch_transforms=[{MixImages: {}}]": "images are evaluated as ClassifierInput prepares them",
        "EvalReader.drop_last=true": "an evaluation uses every image once",
        "TestReader.batch_size=2": "EvalReader says how a classifier's images are prepared",
    },
}


@pytest.mark.parametrize(
    "recipe, override", [(r, override) for r, overrides in REFUSED.items() for override in overrides]
)
def test_what_would_change_nothing_is_refused(recipe, override):
    with pytest.raises(ConfigError) as error:
        load_config(recipe, [override])
    assert f"override '{override}': " in str(error.value)
    assert REFUSED[recipe][override] in str(error.value)


def test_values_that_ask_for_nothing_are_accepted():
    """These values include all that PaddleDetection's own Res2Net recipes set."""
    nothing = {
        **dict.fromkeys(("use_xpu", "use_npu", "use_mlu", "save_prediction_only", "print_flops"), "false"),
        "amp_level": "O1",
        "label_smoothing": "0",
        "export": "{post_process: true, nms: true, benchmark: false, fuse_conv_bn: false}",
        "EvalReader.shuffle": "false",
        "EvalReader.drop_last": "false",
        "TestReader.inputs_def": "{image_shape: [3, -1, -1]}",
    }
    for reader in ("TrainReader", "EvalReader", "TestReader"):
        for key in ("collate_batch", "drop_empty", "fuse_normalize"):
            nothing[f"{reader}.{key}"] = "false"
        for key in ("mixup", "cutmix", "mosaic", "pre_img"):
            nothing[f"{reader}.{key}_epoch"] = "-1"
    overrides = [f"{key}={value}" for key, value in nothing.items()]
    for anything in ("true", "false"):
        overrides += [
            f"{reader}.{key}={anything}" for reader in ("TrainReader", "EvalReader") for key in HARMLESS_READER_KEYS
        ]
    assert load_config(DETECTOR, overrides)["TestReader"]["inputs_def"] == {"image_shape": [3, -1, -1]}


class Recorder(dict):
    """A mapping that records which of its keys are read by name."""

    def __init__(self, content: dict, seen: set[str]) -> None:
        dict.__init__(self, content)
        self.seen = seen

    def __getitem__(self, key):
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.seen.add(key)
        return super().get(key, default)

    def __deepcopy__(self, memo):
        return Recorder(copy.deepcopy(dict(self), memo), self.seen)


class RecordingConfig(Recorder, Config):
    """A configuration that records which of its keys, and of its readers' keys, are read."""

    def __init__(self, config: Config, seen: dict[str, set[str]]) -> None:
        Recorder.__init__(self, config, seen.setdefault("", set()))
        self.path = config.path
        for name in [name for name in config if name.endswith("Reader")]:
            self[name] = Recorder(config[name], seen.setdefault(name, set()))


@pytest.fixture
def recorders_are_saved(monkeypatch):
    """Let the writer of YAML treat a recorder as a mapping."""
    representers = {**_Dumper.yaml_representers, Recorder: _Dumper.represent_dict}
    monkeypatch.setattr(_Dumper, "yaml_representers", representers)


def _is_refused(architecture: str, dotted: str, kind: Kind) -> bool:
    """Return whether at least one value of the key's kind is refused because it requests something unsupported."""
    values = (True, False, 3, 0.5, "x", [{"X": {}}], {"x": 1})
    for value in filter(kind.suits, values):
        nested = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        if any(
            place == tuple(dotted.split(".")) for place, _ in find_unsupported({"architecture": architecture, **nested})
        ):
            return True
    return False


def _assert_none_is_ignored(architecture: str, seen: dict[str, set[str]], readers: tuple[str, ...]) -> None:
    how = {
        name: [name in seen[""], name == "export", _is_refused(architecture, name, key)]  # the parts of export: below
        for name, key in PLAIN_KEYS.items()
    }
    for reader in readers:
        lists = {name: TransformList() for name in ("sample_transforms", "batch_transforms")}
        for name, key in {**READER_KEYS, **lists}.items():
            is_refused = _is_refused(architecture, f"{reader}.{name}", key)
            how[f"{reader}.{name}"] = [name in seen[reader], name in HARMLESS_READER_KEYS, is_refused]
    for name, key in EXPORT_KEYS.items():
        how[f"export.{name}"] = [False, False, _is_refused(architecture, f"export.{name}", key)]
    assert {name: answers for name, answers in how.items() if sum(answers) != 1} == {}, "read, harmless, refused"


def test_a_detector_reads_or_refuses_every_key(demo_data, detecting, tmp_path, recorders_are_saved):
    from ppdet_res2net.detection.evaluate import evaluate_from_config
    from ppdet_res2net.detection.export import export_model
    from ppdet_res2net.detection.model import create_predictor, create_trained_detector
    from ppdet_res2net.detection.task import train

    seen: dict[str, set[str]] = {}
    settings = [
        "TrainDataset.sample_num=4",
        "EvalDataset.sample_num=1",
        "use_ema=true",
        "base_batch_size=8",
        "epoch=2",
        f"weights={detecting}",
    ]
    config = make_config(demo_data, tmp_path, *settings)
    train(RecordingConfig(config, seen), max_steps=3)
    evaluate_from_config(RecordingConfig(config, seen))
    export_model(RecordingConfig(config, seen), str(tmp_path / "exported"))
    create_predictor(
        *create_trained_detector(config)[:1], RecordingConfig(config, seen), Classes(("a",), (1,)), "TestReader"
    )
    _amp_dtype(RecordingConfig(config, seen), "gpu:0")  # read on a GPU only
    _assert_none_is_ignored("MaskRCNN", seen, ("TrainReader", "EvalReader", "TestReader"))


def test_a_classifier_reads_or_refuses_every_key(tmp_path, recorders_are_saved):
    from ppdet_res2net.classification.model import load_classifier
    from ppdet_res2net.classification.task import ClassificationTask

    for index, path in enumerate(
        f"{split}/{name}/{i}.png" for split in ("train", "val") for name in "ab" for i in "01"
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (index * 30,) * 3).save(tmp_path / path)
    settings = [f"{name}Dataset.dataset_dir={tmp_path}" for name in ("Train", "Eval")]
    settings += [
        f"save_dir={tmp_path}",
        "worker_num=0",
        "use_gpu=false",
        "TrainReader.batch_size=2",
        "use_ema=true",
        "base_batch_size=8",
        "epoch=2",
    ]
    settings += [f"weights={tmp_path / 'digits' / 'model_final'}", "Res2Net.width=4", "Res2Net.scales=2"]
    seen: dict[str, set[str]] = {}
    config = load_config(CLASSIFIER, settings)
    run_training(RecordingConfig(config, seen), ClassificationTask, TrainOptions(evaluate=True, max_steps=3))
    load_classifier(config=RecordingConfig(config, seen))
    _amp_dtype(RecordingConfig(config, seen), "gpu:0")  # read on a GPU only
    _assert_none_is_ignored("Res2NetClassifier", seen, ("TrainReader", "EvalReader"))


def test_the_number_of_parameters_is_logged(demo_data, tmp_path, caplog):
    caplog.set_level("INFO")
    train_toy(tmp_path, {"max_steps": 1}, print_params=True, toy={"trunk": {"freeze_at": 0}})
    assert "the model has 0.0" in messages(caplog) and "million parameters, of which 0.0" in messages(caplog)
