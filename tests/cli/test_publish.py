"""From a run to a hub and back: ``publish``, and every command that takes an address."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml

pytest.importorskip("huggingface_hub")

from ppdet_res2net import get_model_spec
from ppdet_res2net.cli.main import main
from ppdet_res2net.config import load_config
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.publication.recipe import portable_recipe
from ppdet_res2net.zoo.catalog import find_published
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.hub_weights import find_hub_weights
from tests.helpers.fake_hub import FakeRepo, using_hub
from tests.helpers.training_runs import image_files, read_tensors

METRICS = {
    "bbox": {
        "AP": 0.4213,
        "AP50": 0.6,
        "AP75": -1,
        "classes": [{"class": "a|b", "category_id": 1, "AP": 0.4213, "AP50": 0.6}],
    },
    "segm": {"AP": 0.25, "AP50": 0.5, "AP75": 0.125},
    "images": 6,
    "seconds": 1.0,
}


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """The folder of a published run, to whose record an evaluation is added."""
    run = tmp_path_factory.mktemp("runs") / "nuts"
    shutil.copytree(trained, run)
    record = json.loads((run / "model_final.json").read_text())
    (run / "model_final.json").write_text(json.dumps({**record, "metrics": METRICS}))
    folder = tmp_path_factory.mktemp("published") / "nuts"
    arguments = ["publish", str(run), "--license", "Apache-2.0", "--output", str(folder), "--repo", "ann/nuts"]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with using_hub(tmp_path / "cache", monkeypatch) as server:
        yield server


def test_the_folder_is_complete_and_names_nothing_of_this_machine(published, trained, demo_data):
    names = {file.relative_to(published).as_posix() for file in published.rglob("*") if file.is_file()}
    assert {"README.md", "config.yml", "model.json", "model.safetensors", "export/infer_cfg.yml"} <= names
    tensors, before = read_tensors(published / "model.safetensors"), read_tensors(trained / "model_final.pdparams")
    assert tensors.keys() == before.keys() and all(np.array_equal(tensors[name], before[name]) for name in before)
    for name in ("README.md", "config.yml", "model.json", "export/infer_cfg.yml"):
        text = (published / name).read_text()
        assert not [place for place in (trained, demo_data) if str(place.parent) in text], name
    config = load_config(published / "config.yml")
    assert config["TrainDataset"].kwargs["dataset_dir"] == "dataset/data"
    assert config["TrainDataset"].kwargs["image_dir"] == "train2017"
    assert not {"weights", "pretrain_weights", "save_dir", "use_gpu"} & config.keys()


def test_the_card_is_filled_from_the_run(published):
    from huggingface_hub import ModelCard

    card = ModelCard.load(published / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.library_name == "ppdet-res2net"
    figures = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert figures == {
        "box AP": 42.13,
        "box AP50": 60.0,
        "mask AP": 25.0,
        "mask AP50": 50.0,
        "mask AP75": 12.5,
    }
    assert {one.dataset_name for one in card.data.eval_results} == {"data"}
    assert "On 6 images of data, from the run's own evaluation:" in card.text
    assert "| box AP | 42.1 |" in card.text and "| a\\|b | 42.1 |" in card.text
    assert "ppdet-res2net infer -c hf://ann/nuts --infer_img photo.jpg" in card.text
    assert "| started from | random weights |" in card.text


def test_a_published_detector_needs_only_its_address(published, hub, demo_data, tmp_path, capfd, monkeypatch):
    from res2net_runtime import Predictor

    monkeypatch.chdir(tmp_path)
    hub.add_folder("ann/nuts", published)
    image = str(image_files(demo_data)[0])
    arguments = ["-c", "hf://ann/nuts", "--infer_img", image, "--draw_threshold", "0", "--device", "cpu"]
    assert main(["infer", *arguments, "--save_results"]) == 0
    eager = json.loads((tmp_path / "output" / "bbox.json").read_text())
    assert sorted(hub.downloads()) == ["config.yml", "model.json", "model.safetensors"]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = load_config("hf://ann/nuts", ["use_gpu=false"])
    assert config.name == "nuts" and config["pretrain_weights"] == config["weights"] == "hf://ann/nuts"
    assert main(["fetch", "-c", "hf://ann/nuts", "--list"]) == 0
    listed = capfd.readouterr().out
    assert "\nweights of nuts: hf://ann/nuts\n  address: hf://ann/nuts/model.safetensors\n" in listed
    assert listed.count("state: here") == 2
    assert (
        main(["convert-weights", "timm/res2net50_26w_4s", "hf://ann/nuts/none.pth", str(tmp_path / "x.pdparams")]) == 1
    )
    assert "hf://ann/nuts/none.pth: the cache has none, only" in capfd.readouterr().err

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with Predictor("hf://ann/nuts") as predictor:
        boxes = predictor(image).boxes_xyxy
    assert len(boxes) == len(eager)


def test_a_classifier_on_a_hub_needs_only_its_address(hub, tmp_path):
    import paddle

    from ppdet_res2net.classification.model import load_classifier, trunk_arguments
    from ppdet_res2net.modeling import Res2NetClassifier
    from ppdet_res2net.zoo.load import trunk_metadata
    from res2net_runtime.classification import ClassifierPreprocessor

    paddle.seed(0)
    network = Res2NetClassifier(2, depth=[1, 1, 1, 1], width=4, scales=2, variant="d", dialect="official", groups=2)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_weights_file(tmp_path / "up/model.safetensors", weights, trunk_metadata(network))
    info = {
        "class_names": ["dark", "light"],
        "category_ids": [0, 1],
        "backbone": trunk_arguments(network, "bn"),
        "preprocess": ClassifierPreprocessor(size_px=64).to_config(),
    }
    (tmp_path / "up/model.json").write_text(json.dumps(info))
    hub.add_folder("ann/shades", tmp_path / "up")
    loaded = load_classifier(weights="hf://ann/shades")
    assert (loaded.name, loaded.class_names) == ("shades", ("dark", "light"))
    assert all(np.array_equal(weights[name], array.numpy()) for name, array in loaded.network.state_dict().items())
    assert loaded.preprocessor.size_px == 64


def test_published_models_are_known_by_their_repository(hub):
    hub.repos["timm/res2net50_26w_4s.in1k"] = FakeRepo({"model.safetensors": b"", "pytorch_model.bin": b""})
    found = find_hub_weights("hf://timm/res2net50_26w_4s.in1k")
    assert found.name == "model.safetensors"
    assert find_published(found.url) == get_model_spec("timm/res2net50_26w_4s")


@pytest.mark.parametrize(
    ("key", "text", "portable"),
    [
        ("dataset_dir", "/home/ann/nuts", "dataset/nuts"),
        ("dataset_dir", "C:\\data\\nuts", "dataset/nuts"),
        ("dataset_dir", "~/nuts/", "dataset/nuts"),
        ("dataset_dir", "../nuts", "dataset/nuts"),
        ("dataset_dir", "..", "dataset"),
        ("dataset_dir", "dataset/nuts", "dataset/nuts"),
        ("anno_path", "/home/ann/a.json", "a.json"),
        ("anno_path", "annotations/a.json", "annotations/a.json"),
    ],
)
def test_paths_of_this_machine_are_shortened(key, text, portable):
    recipe = {
        "TrainDataset": Tagged("COCODataSet", {key: text, "data_fields": ["image"]}),
        "weights": text,
        "save_dir": text,
    }
    assert portable_recipe(recipe) == {"TrainDataset": Tagged("COCODataSet", {key: portable, "data_fields": ["image"]})}


def test_files_are_chosen_or_listed(hub, tmp_path, capfd):
    hub.repos["ann/two"] = FakeRepo(
        {"a.pth": b"", "b.safetensors": b"", "export/infer_cfg.yml": b"", "export/x.bin": b""}
    )
    assert main(["fetch", "hf://ann/two", "--list"]) == 1
    assert (
        "hf://ann/two has several files that may be the file of weights: a.pth, b.safetensors."
        in capfd.readouterr().err
    )
    assert main(["fetch", "hf://ann/two@main/a.pth", "--list"]) == 0
    assert "address: hf://ann/two@main/a.pth" not in capfd.readouterr().out
    assert main(["config", "-c", "hf://ann/two"]) == 1
    assert "hf://ann/two has no recipe (a YAML file)" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main(["fetch", "hf://ann/two/a.pth", "--to", str(tmp_path)])
    assert "bring the cache of huggingface_hub (HF_HOME) to the other machine" in capfd.readouterr().err


def test_a_recipe_from_a_hub_runs_no_code_and_does_not_choose_folders(hub, capfd, tmp_path):
    hub.repos["eve/code"] = FakeRepo({"config.yml": b"architecture: !!python/object/apply:os.system [id]\n"})
    assert main(["config", "-c", "hf://eve/code"]) == 1
    assert "is refused, because it lets a configuration run Python" in capfd.readouterr().err
    hub.repos["eve/pickle"] = FakeRepo({"model.pth": b"cos\nsystem\n(S'id'\ntR."})
    assert main(["convert-weights", "timm/res2net50_26w_4s", "hf://eve/pickle", str(tmp_path / "x.pdparams")]) == 1
    assert "is refused: reading it would call 'os.system'" in capfd.readouterr().err
    text = "_BASE_: [demo_mask_rcnn]\nsave_dir: /etc\nloggers: [wandb]\n"
    hub.repos["eve/paths"] = FakeRepo({"config.yml": text.encode()})
    config = load_config("hf://eve/paths")
    assert "save_dir" not in config and "loggers" not in config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --license"),
        (["--license", "Apache 2"], "got 'Apache 2', expected the hub's name of a licence, such as apache-2.0 or mit"),
        (
            ["--license", "apache2.0"],
            "such as apache-2.0 or mit; 'other' if it has none for yours. Did you mean 'apache-2.0'",
        ),
        (["--license", "mit", "--repo", "nuts"], "got 'nuts', expected OWNER/NAME, as in ann/nuts"),
    ],
)
def test_what_publish_needs(arguments, message, tmp_path, capfd):
    with pytest.raises(SystemExit):
        main(["publish", str(tmp_path), *arguments])
    assert message in capfd.readouterr().err


def test_nothing_is_written_into_a_folder_named_like_a_hub(trained, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["publish", str(trained), "--license", "mit", "--output", "hf://ann/nuts"]) == 1
    assert "is an address, and results are written into folders of this machine only" in capfd.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_page_of_the_hub_is_answered_with_its_address(tmp_path, capfd):
    page = "https://huggingface.co/ann/nuts"
    assert main(["infer", "-c", page, "--infer_img", str(tmp_path)]) == 1
    assert "is a page, not a recipe. Pass hf://ann/nuts for what it shows." in capfd.readouterr().err
    weights = f"weights={page}/blob/v1/x.safetensors"
    assert main(["infer", "-c", "demo_mask_rcnn", "-o", weights, "--infer_img", str(tmp_path)]) == 1
    assert "is a page, not a file. Pass hf://ann/nuts@v1/x.safetensors for what it shows." in capfd.readouterr().err


def test_publish_takes_only_a_run(tmp_path, capfd):
    assert main(["publish", str(tmp_path), "--license", "mit"]) == 1
    assert "has neither best_model.pdparams nor model_final.pdparams" in capfd.readouterr().err
    assert main(["publish", str(tmp_path / "none"), "--license", "mit"]) == 1
    assert f"There is no '{tmp_path / 'none'}.pdparams', which belongs to a run" in capfd.readouterr().err


def test_a_folder_is_not_overwritten(published, trained, capfd):
    assert main(["publish", str(trained), "--license", "mit", "--output", str(published)]) == 1
    assert "is not empty. Pass another --output" in capfd.readouterr().err
    assert yaml.safe_load((published / "export" / "infer_cfg.yml").read_text())["task"] == "detection"
