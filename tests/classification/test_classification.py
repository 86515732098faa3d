"""Training, resuming, evaluation and prediction of small classifiers, and a detector that starts from one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from ppdet_res2net.classification.cam import class_activation_maps, draw_activation
from ppdet_res2net.classification.evaluate import ClassificationResult
from ppdet_res2net.classification.model import load_classifier, match_labels, preprocessor_of_spec
from ppdet_res2net.classification.predict import classify_files
from ppdet_res2net.classification.task import ClassificationTask, _with_labels_of_outputs, train_classifier
from ppdet_res2net.config import load_config
from ppdet_res2net.data.classification.sources import ClassFolderDataSet
from ppdet_res2net.errors import ConfigError, DatasetError, WeightsError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.schedule import scale_learning_rate
from ppdet_res2net.training.trainer import TrainOptions
from ppdet_res2net.zoo import get_model_spec
from ppdet_res2net.zoo.formats import load_weights_file
from ppdet_res2net.zoo.load import load_pretrained

CLASSES = ("dark", "light", "middle")
SMALL = ["Res2Net.width=4", "Res2Net.scales=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three classes that differ in brightness; one file each is held out."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.RandomState(0)
    for name, shade in zip(CLASSES, (40, 210, 125)):
        for number in range(5):
            path = root / ("val" if number == 0 else "train") / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = random.randint(-25, 25, (16, 16, 3))
            Image.fromarray((shade + noise).astype(np.uint8)).save(path)
    return root


def make_config(data: Path, output: Path, *overrides: str):
    common = [
        f"TrainDataset.dataset_dir={data}",
        f"EvalDataset.dataset_dir={data}",
        f"save_dir={output}",
        "worker_num=0",
        "use_gpu=false",
        "TrainReader.batch_size=4",
        "epoch=2",
        "log_iter=1",
        "LearningRate={base_lr: 0.001, schedulers: [{name: PiecewiseDecay, milestones: [9], use_warmup: false}]}",
    ]
    return load_config("digits", [*SMALL, *common, *overrides])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run with all augmentation, in six steps."""
    output = tmp_path_factory.mktemp("run")
    return train_classifier(make_config(data, output, *AUGMENTED), TrainOptions(evaluate=True))


AUGMENTED = [
    "TrainReader.batch_transforms=[{MixImages: {mixup_alpha: 0.2, cutmix_alpha: 1.0}}]",
    "label_smoothing=0.1",
    "use_ema=true",
    "accumulate_steps=1",
]


def test_a_run(run, data):
    assert run.steps == 6 and run.metrics["images"] == 3 and 0 <= run.metrics["top1"] <= run.metrics["top5"] == 1
    info = json.loads((run.run_dir / "model_final.json").read_text())
    assert info["class_names"] == list(CLASSES) and info["category_ids"] == [0, 1, 2]
    assert info["backbone"]["depth"] == [1, 1, 1, 1] and info["preprocess"]["size_px"] == 32
    assert (run.run_dir / "best_model.pdparams").is_file()


def test_resuming_changes_nothing(run, data, tmp_path):
    stopped = train_classifier(make_config(data, tmp_path, *AUGMENTED), TrainOptions(max_steps=2))
    checkpoint = str(stopped.run_dir / "model_final")
    train_classifier(make_config(data, tmp_path, *AUGMENTED), TrainOptions(resume=checkpoint))
    reference = load_weights_file(run.run_dir / "model_final.pdparams")
    resumed = load_weights_file(stopped.run_dir / "model_final.pdparams")
    assert reference.keys() == resumed.keys()
    assert all(np.array_equal(reference[name], resumed[name]) for name in reference)


def test_weights_know_their_model(run, data):
    classifier = load_classifier(weights=run.run_dir / "model_final")
    assert classifier.class_names == CLASSES and not classifier.network.training
    by_config = load_classifier(weights=str(run.run_dir / "model_final"), config=make_config(data, run.run_dir))
    images = np.random.RandomState(0).rand(2, 3, 32, 32).astype(np.float32)
    with paddle.no_grad():
        one, other = (c.network(paddle.to_tensor(images)).numpy() for c in (classifier, by_config))
    assert np.array_equal(one, other)


def make_task(data, tmp_path, *overrides):
    return ClassificationTask(make_config(data, tmp_path, *overrides), Processes())


def test_losses(data, tmp_path):
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 1.0]], np.float32)
    batch = {
        "image": None,
        "label": paddle.to_tensor([0, 2]),
        "other_label": paddle.to_tensor([1, 1]),
        "label_share": paddle.to_tensor(np.array([0.75, 0.75], np.float32)),
    }
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    own, other = -logs[[0, 1], [0, 2]], -logs[[0, 1], [1, 1]]
    smooth = -logs.mean(axis=1)

    def loss(task, *names):
        return float(task.losses(lambda _: paddle.to_tensor(logits), {name: batch[name] for name in names})["loss"])

    plain, smoothed = make_task(data, tmp_path), make_task(data, tmp_path, "label_smoothing=0.1")
    assert loss(plain, "image", "label") == pytest.approx(own.mean(), rel=1e-6)
    assert loss(smoothed, "image", "label") == pytest.approx((0.9 * own + 0.1 * smooth).mean(), rel=1e-6)
    assert loss(plain, *batch) == pytest.approx((0.75 * own + 0.25 * other).mean(), rel=1e-6)


def test_validation_losses_are_those_of_the_evaluated_images(data, tmp_path):
    task = make_task(data, tmp_path, "eval_losses=1.0", "label_smoothing=0.1")
    result = task.evaluate()
    task.model.eval()
    dataset = ClassFolderDataSet(str(data), "val")
    dataset.parse_dataset()
    with paddle.no_grad():
        images = [task._preprocessor(np.asarray(Image.open(record["im_file"]))) for record in dataset.roidbs]
        logits = task.model(paddle.to_tensor(np.stack(images))).numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = 0.9 * -logs[[0, 1, 2], [0, 1, 2]] + 0.1 * -logs.mean(axis=1)
    assert result.summary["losses"] == {"loss": pytest.approx(expected.mean(), abs=1e-4)}
    assert "Losses on 3 of 3 images (eval_losses): loss " in result.report
    assert "losses" not in make_task(data, tmp_path).evaluate().summary


def test_labels_of_another_order_become_those_of_the_outputs():
    batch = {"image": None, "label": paddle.to_tensor([0, 2, 1])}
    assert _with_labels_of_outputs(batch, [1, 2, 0])["label"].tolist() == [1, 0, 2]


def test_a_classifier_has_a_page(run):
    page = (run.run_dir / "index.html").read_text("utf-8")
    assert "best top1, after step" in page and "step 6 of 6" in page


def test_the_number_of_classes_comes_from_the_data(data, tmp_path, caplog):
    task = make_task(data, tmp_path)
    assert task.model.fc.weight.shape[1] == 3
    assert (
        "num_classes is set to 3, the number of classes in the training data; the configuration says 10" in caplog.text
    )


@pytest.mark.parametrize(
    "overrides, error, message",
    [
        (["label_smoothing=1.0"], ConfigError, "'label_smoothing' is 1.0; it must be below 1"),
        (["EvalReader.sample_transforms=[{Decode: {}}]"], ConfigError, "expected one entry, for instance"),
        (
            ["EvalReader.sample_transforms=[{ClassifierInput: {size_px: 0}}]"],
            ConfigError,
            "'EvalReader.sample_transforms.0.ClassifierInput.size_px' is 0; it must be 1 or more",
        ),
        (["Res2Net.return_idx=[2]"], ConfigError, "a classifier needs the last. Set Res2Net.num_stages: 4 and"),
        (["TrainDataset.image_dir=test"], DatasetError, "There is no image folder"),
        (["TrainReader.batch_size=50"], DatasetError, "the dataset has 12 images, which is less than one batch of 50"),
    ],
)
def test_wrong_settings(data, tmp_path, overrides, error, message):
    with pytest.raises(error) as raised:
        make_task(data, tmp_path, *overrides)
    assert message in str(raised.value)


def test_freezing_needs_weights(data, tmp_path, run):
    with pytest.raises(ConfigError, match="Part of Res2Net is frozen"):
        make_task(data, tmp_path, "Res2Net.freeze_at=3").load_pretrained()
    task = make_task(
        data, tmp_path, "Res2Net.freeze_at=3", "Res2Net.freeze_norm=true", f"pretrain_weights={run.run_dir}/model_final"
    )
    task.load_pretrained()
    assert [name for name, p in task.model.named_parameters() if p.trainable] == ["fc.weight", "fc.bias"]


def test_unknown_transforms_and_datasets_are_refused():
    for override, message in (
        ("TrainReader.sample_transforms=[{RandomFlip: {}}]", "there is no transform 'RandomFlip'"),
        ("TrainReader.batch_transforms=[{MixImages: {mixup: 1}}]", "has no argument 'mixup'"),
        ("TrainDataset={name: ClassFolder}", "there is no dataset 'ClassFolder'. Did you mean 'ClassFolderDataSet'?"),
    ):
        with pytest.raises(ConfigError) as error:
            load_config("digits", [override])
        assert message in str(error.value)


@pytest.mark.parametrize("recipe", sorted(Path("configs/res2net/imagenet").glob("*.yml")), ids=lambda path: path.stem)
def test_recipes_build(recipe):
    config = load_config(recipe, ["Res2Net.depth=[1,1,1,1]"] if "model" not in load_config(recipe)["Res2Net"] else [])
    model = create_from_config(config, "Res2NetClassifier")
    schedule = create_from_config(config, "LearningRate")(10)
    create_from_config(config, "OptimizerBuilder")(schedule, model)
    if recipe.stem != "digits":
        # Their rates are for 256 images per step, for any batch size.
        rate = config["LearningRate"]["base_lr"]
        assert scale_learning_rate(config, 64, 100)["base_lr"] == pytest.approx(rate / 4)


# Evaluation


def make_result():
    predicted = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0]])
    return ClassificationResult(np.array([0, 0, 1, 1]), predicted, ("a", 'b "x"', "c"), 2.0)


def test_figures():
    result = make_result()
    assert result.top(1) == 0.5 and result.top(2) == 1.0
    assert result.confusion_matrix.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert result.per_class()[2] == {"class": "c", "images": 0, "top1": None}
    assert result.report == "top-1 50.000 %, top-5 100.000 % of 4 images; 2.0 s, 2.0 images/s"
    assert result.class_table().splitlines()[1:] == [
        "a           2   50.00 %",
        'b "x"       2   50.00 %',
        "c           0         -",
    ]
    assert result.confusion_csv().splitlines()[:3] == ['label,"a","b ""x""","c"', '"a",1,1,0', '"b ""x""",0,1,1']


def test_classes_are_matched_by_name(data):
    dataset = ClassFolderDataSet(str(data), "val")
    assert match_labels(("middle", "dark", "light", "other"), 4, dataset) == [1, 2, 0]
    assert match_labels(None, 3, dataset) == [0, 1, 2]
    with pytest.raises(
        DatasetError, match=r"has 3 classes \(dark, light, middle\), but the model has 4 \(a, b, c, d\)"
    ):
        match_labels(("a", "b", "c", "d"), 4, dataset)
    with pytest.raises(
        DatasetError, match=r"but the model has 2 \(dark, light\), which do not include middle. Evaluate"
    ):
        match_labels(("dark", "light"), 2, dataset)
    with pytest.raises(
        DatasetError, match="has 3 classes .*, but the model has 1000. Evaluate on data with the model's"
    ):
        match_labels(None, 1000, dataset)
    with pytest.raises(DatasetError, match="has a class 'middle', which the model does not know; its classes are dark"):
        match_labels(("dark", "light", "grey"), 3, dataset)


def test_published_preprocessing():
    timm = preprocessor_of_spec(get_model_spec("timm/res2net50_26w_4s"))
    assert (timm.library, timm.upright, timm.resized_px) == ("pillow", False, 256)
    assert preprocessor_of_spec(get_model_spec("timm/res2net50_26w_4s"), upright=True).upright
    assert preprocessor_of_spec(get_model_spec("paddleclas/Res2Net50_vd_26w_4s")).library == "opencv"
    mindcv = preprocessor_of_spec(get_model_spec("mindcv/res2net50"))
    assert (mindcv.library, mindcv.upright) == ("mindspore", False)
    assert preprocessor_of_spec(get_model_spec("mmpretrain/res2net50-w14-s8")).upright


def test_nothing_says_which_model(tmp_path, run, data):
    with pytest.raises(ConfigError, match="Nothing says which classifier to use. Pass --model NAME"):
        load_classifier()
    weights = tmp_path / "alone.pdparams"
    weights.write_bytes((run.run_dir / "model_final.pdparams").read_bytes())
    with pytest.raises(ConfigError, match="has no .json beside it that describes its model"):
        load_classifier(weights=weights)
    with pytest.raises(ConfigError, match="Both a configuration and a model are given"):
        load_classifier("timm/res2net50d", config=make_config(data, tmp_path))
    with pytest.raises(ConfigError, match="is published as a detector; choose a model whose task is 'classifier'"):
        load_classifier("ppdet/mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco")
    with pytest.raises(ConfigError, match="'demo_mask_rcnn' describes a MaskRCNN, not a Res2NetClassifier. Choose"):
        load_classifier(config=load_config("demo_mask_rcnn"))
    with pytest.raises(
        ConfigError, match="'demo_mask_rcnn' describes a MaskRCNN, not a Res2NetClassifier. Train it with"
    ):
        train_classifier(load_config("demo_mask_rcnn"), TrainOptions())


def test_weights_of_another_number_of_classes_are_not_evaluated(run, data, tmp_path):
    weights = tmp_path / "alone.pdparams"
    weights.write_bytes((run.run_dir / "model_final.pdparams").read_bytes())
    with pytest.raises(WeightsError, match=r"fc.weight \(got \[2048, 3\], expected \[2048, 10\]\)"):
        load_classifier(weights=str(weights), config=make_config(data, tmp_path))


# Prediction


def test_prediction_and_maps(run, data, tmp_path, caplog):
    classifier = load_classifier(weights=run.run_dir / "model_final")
    bad = tmp_path / "in/bad.png"
    bad.parent.mkdir()
    bad.write_bytes(b"x")
    paths = [data / "val/dark/dark0.png", bad, data / "val/light/light0.png"]
    results = list(classify_files(classifier, paths, top_k=2, batch_size=2, cam_dir=tmp_path / "cam"))
    assert [result.path for result in results] == paths and results[1].error.startswith("Cannot decode image")
    assert len(results[0].names) == 2 and results[0].scores[0] >= results[0].scores[1]
    assert sorted(path.name for path in (tmp_path / "cam").iterdir()) == ["dark0.png", "light0.png"]
    assert Image.open(tmp_path / "cam/dark0.png").size == (224, 224)
    assert "activation maps are coarse: images of 32 pixels give maps of 1x1 cells" in caplog.text
    alone = next(classify_files(classifier, paths[2:], top_k=2))
    assert alone.scores == pytest.approx(results[2].scores, abs=1e-6)
    assert results[0].as_dict()["classes"][0].keys() == {"label", "name", "score"}
    (tmp_path / "cam/dark0.png").unlink()
    (tmp_path / "cam/dark0.png").mkdir()  # in the way of the first map
    blocked, _, fine = classify_files(classifier, paths, cam_dir=tmp_path / "cam")
    assert blocked.error.startswith(f"The picture '{tmp_path}/cam/dark0.png' cannot be written") and not fine.error
    with pytest.raises(ConfigError, match="holds the images themselves; pass another folder"):
        list(classify_files(classifier, paths, cam_dir=bad.parent))


def test_a_map_adds_up_to_its_logit(run):
    network = load_classifier(weights=run.run_dir / "model_final").network
    images = np.random.RandomState(0).rand(2, 3, 96, 64).astype(np.float32)
    logits, maps = class_activation_maps(network, images, np.array([2, 0]))
    assert maps.shape == (2, 3, 2)
    bias = network.fc.bias.numpy()[[2, 0]]
    assert np.allclose(maps.mean(axis=(1, 2)) + bias, logits[[0, 1], [2, 0]], atol=1e-4)


def test_pictures_show_where_the_evidence_is():
    activation = np.full((2, 2), -1, np.float32)
    activation[0, 1] = 1
    picture = draw_activation(np.full((300, 300, 3), 128, np.uint8), activation).astype(int)
    assert picture.shape == (300, 300, 3)
    assert picture[20, 280, 0] > picture[20, 280, 2] and picture[280, 20, 2] > picture[280, 20, 0]


# Detectors


def test_a_detector_starts_from_a_classifier(run, caplog):
    config = load_config("demo_mask_rcnn", ["Res2Net.depth=[1,1,1]", *SMALL])
    detector = create_from_config(config, "MaskRCNN")
    with caplog.at_level(logging.INFO):
        report = load_pretrained(detector, f"{run.run_dir}/model_final")
    text = str(report)
    assert "2 left out (the classifier's layer is not used by a trunk): fc.weight, fc.bias" in text
    assert "left out (the model has fewer stages): backbone.res5" in text
    trained = load_weights_file(run.run_dir / "model_final.pdparams")
    for name, tensor in detector.backbone.state_dict().items():
        assert np.array_equal(tensor.numpy(), trained[f"backbone.{name}"]), name
