"""``train --model NAME --data DATA``: a classifier without a recipe."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from ppdet_res2net.classification.recipe import OPTIMIZERS, SCHEDULERS, ClassifierOptions, create_recipe
from ppdet_res2net.cli import _classifier_form
from ppdet_res2net.cli.main import main
from ppdet_res2net.config import load_config, save_config
from ppdet_res2net.data.classification import archives
from ppdet_res2net.errors import ConfigError, WeightsError
from res2net_runtime.cli import main as runtime
from tests.helpers.cifar import CLASSES, write_cifar10
from tests.helpers.command_lines import parse_only
from tests.helpers.servers import serve_folder, serving

TINY = ["-o", "Res2Net.depth=[1,1,1,1]", "Res2Net.width=4", "Res2Net.scales=2", "log_iter=1"]


@pytest.fixture
def folders(tmp_path) -> Path:
    for split in ("train", "val"):
        for shade, name in ((30, "dark"), (220, "light")):
            path = tmp_path / "data" / split / name / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (40, 30), (shade,) * 3).save(path)
    return tmp_path / "data"


def test_from_a_server_to_a_prediction(tmp_path, monkeypatch, capsys):
    """CIFAR-10 is downloaded, a classifier trained, evaluated and exported, and the runtime classifies an image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    (tmp_path / "www").mkdir()
    content = write_cifar10(tmp_path / "www/cifar-10-python.tar.gz").read_bytes()
    with serving(server := serve_folder(tmp_path / "www")):
        url, digest = f"{server.url}/cifar-10-python.tar.gz", hashlib.sha256(content).hexdigest()
        known = {"cifar10": archives.Archive("CIFAR-10", url, len(content), digest)}
        monkeypatch.setattr(archives, "ARCHIVES", known)
        words = (
            "--model=res2net50 --opt=momentum --lr=0.001 --dataset=cifar10 --num_classes=10 --dataset_download".split()
        )
        words += ["--pretrained=false", "--val_while_train", "--image_resize=32", "--batch_size=25", "--epoch_size=1"]
        assert main(["train", *words, "--workers", "1", *TINY]) == 0
    run = Path("output/mindcv_res2net50_cifar10")
    recipe = load_config(run / "config.yml")
    assert recipe["TrainDataset"].name == "CIFARDataSet" and recipe["LearningRate"]["base_lr"] == 0.001
    best = str(run / "best_model")
    assert main(["eval", "--weights", best, "--data", "cifar10", "--val_split", "test"]) == 0
    assert main(["eval", "-c", str(run / "config.yml"), "--weights", best]) == 0
    first, second = [line for line in capsys.readouterr().out.splitlines() if "of 10 images" in line][-2:]
    assert first.split(";")[0].partition(": ")[2] == second.split(";")[0].partition(": ")[2]
    Image.new("RGB", (32, 32), (200, 10, 10)).save("red.png")
    assert main(["infer", "--weights", best, "--infer_img", "red.png", "--top_k", "1"]) == 0
    assert main(["export", "--weights", best]) == 0
    capsys.readouterr()
    exported = "output_inference/mindcv_res2net50_cifar10"
    assert runtime(["--model_dir", exported, "--image_file", "red.png", "--run_mode", "paddle"]) == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)


def test_the_recipe_is_one_that_a_file_could_be(folders, tmp_path):
    options = ClassifierOptions(
        "timm/res2net50d", folders, "data", warmup_epochs=2, freeze=["backbone.res2"], workers=1
    )
    config = create_recipe(options, ["seed=3"])
    assert config.name == "timm_res2net50d_data" and config["num_classes"] == 2 and config["seed"] == 3
    assert config["pretrain_weights"] == "timm/res2net50d" and config["Res2Net"]["variant"] == "d"
    assert config["weights"] == "output/timm_res2net50d_data/model_final" and config["freeze"] == ["backbone.res2"]
    assert config["TrainReader"]["sample_transforms"][1] == {"RandomResizedCrop": {"size": 224, "scale": [0.35, 1.0]}}
    prepared = config["EvalReader"]["sample_transforms"][0]["ClassifierInput"]
    assert (prepared["size_px"], prepared["library"], prepared["upright"]) == (224, "pillow", True)
    assert config["TrainReader"]["drop_last"] is False  # there are two images
    save_config(config, tmp_path / "again.yml")
    assert load_config(tmp_path / "again.yml") == config


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule_is_a_valid_recipe(folders, optimizer, scheduler):
    options = ClassifierOptions("mindcv/res2net50", folders, "data", optimizer=optimizer, scheduler=scheduler)
    config = create_recipe(options)
    chosen = config["OptimizerBuilder"]
    assert chosen["optimizer"]["type"] == OPTIMIZERS[optimizer][0]
    assert (chosen["regularizer"] is None) == (optimizer == "adamw")
    assert config["LearningRate"]["base_lr"] == OPTIMIZERS[optimizer][1]


def test_the_command_line_offers_what_recipes_can_have():
    assert (_classifier_form._OPTIMIZERS, _classifier_form._SCHEDULERS) == (tuple(OPTIMIZERS), SCHEDULERS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "timm/res2net50_26w_4"},
            "unknown model 'timm/res2net50_26w_4'. Did you mean 'timm/res2net50_26w_4s'?",
        ),
        (
            {"model": "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco"},
            "is published as a detector; 'ppdet-res2net models' lists models, choose one whose task is 'classifier'",
        ),
        (
            {"num_classes": 10},
            "num_classes is 10, but the folder '{}/train' has 2 classes. Correct it, or leave it out",
        ),
        ({"warmup_epochs": 10}, "The warm-up has 10 epochs, and training 10; make it shorter"),
        ({"image_size": 10_000}, "image_size is 10000: size_px / crop_fraction is above 8192. Choose a smaller one."),
    ],
)
def test_wrong_options(folders, settings, message):
    options = ClassifierOptions(**{"model": "mindcv/res2net50", "data": folders, "title": "data", **settings})
    with pytest.raises(ConfigError) as error:
        create_recipe(options)
    assert message.format(folders) in str(error.value)


def test_models_without_published_weights(folders):
    options = ClassifierOptions("mindcv/res2net152", folders, "data")
    with pytest.raises(
        WeightsError, match="There are no published weights of .* Add --no_pretrained to start from random"
    ):
        create_recipe(options)


def test_one_set_of_images_can_be_trained_on_but_not_evaluated(folders, monkeypatch, capsys, caplog):
    monkeypatch.chdir(folders.parent)
    words = ["--model", "mindcv/res2net50", "--data", str(folders / "train")]
    config = _classifier_form.create_form_recipe(parse_only("train", words), ())
    assert "EvalDataset" not in config
    assert main(["train", *words, "--eval"]) == 1
    assert "--eval needs images that are held out, but" in capsys.readouterr().err
    words += ["--no_pretrained", "--image_size", "32", "--workers", "1", "--epochs", "1"]
    assert main(["train", *words, *TINY]) == 0
    proposed = caplog.text.partition("next:\n")[2]
    assert "ppdet-res2net export" in proposed and "ppdet-res2net eval" not in proposed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--model and --data are missing: pass --model NAME --data DATA for a classifier, or a recipe: -c CFG."),
        ("--model a/b", "--data is missing: pass --model NAME"),
        ("-c x --model a/b", "-c and --model both say which model it is; leave one of them out"),
        (
            "-c x --epochs 3",
            "--epochs is for a classifier without a recipe (--model), not for -c. The recipe has this setting: -o",
        ),
        (
            "-c x --data d --lr 1",
            "--data, --lr are for a classifier without a recipe (--model), not for -c. The recipe has this",
        ),
        (
            "--model a --data d --pretrained --no_pretrained",
            "argument --no_pretrained: not allowed with argument --pretrained",
        ),
        (
            "--model a --data d --pretrain_weights w --pretrained",
            "--pretrain_weights and --pretrained both say where to start",
        ),
        (
            "--model a --data d --opt=adam --momentum 0.5",
            "--momentum is only for --optimizer momentum, which is adam here",
        ),
        ("--model a --data d --lr 0", "argument --lr: got 0, expected a number above 0"),
        ("--model a --data d --lr nan", "argument --lr: got 'nan', expected a number of 0 or more"),
        ("--model a --dataset cifar10 --data_dir d", "argument --data: is given twice, as 'cifar10' and 'd'"),
        ("--model a --data d --ckpt_path c", "to start from weights, pass --pretrain_weights FILE"),
        ("--model a --data d --opt lamb", "Choose another --optimizer"),
        ("--model a --data d --loss BCE", "Classifiers are trained with cross entropy"),
        ("--model a --data d --distribute", "Several processes are started by Paddle"),
    ],
)
def test_wrong_command_lines(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_only("train", words.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_names_of_mindcv_are_understood():
    args = parse_only(
        "train",
        "--model=res2net50 --pretrained=True --opt=adamw --lr=0.001 --dataset=imagenet --data_dir=d --epoch_size 3 "
        "--num_parallel_workers 2 --image_resize 64 --val_while_train True --ckpt_save_dir out --amp_level=O0".split(),
    )
    assert (args.model, args.data, args.optimizer, args.epochs) == ("mindcv/res2net50", "d", "adamw", 3)
    assert (args.workers, args.image_size, args.eval, args.pretrained, args.amp) == (2, 64, True, True, False)
    assert args.opt == ["save_dir=out"]
    args = parse_only("eval", "--model=res2net50 --dataset=cifar10 --val_split=test --ckpt_path=f".split())
    assert (args.model, args.data, args.split, args.weights) == ("mindcv/res2net50", "cifar10", "test", "f")
    assert parse_only("train", ["-c", "x", "--opt", "epoch=1"]).opt == ["epoch=1"]  # PaddleDetection's --opt


def test_evaluation_by_name_prepares_images_as_the_run_did(tmp_path, folders, monkeypatch):
    import json

    from ppdet_res2net.classification import model
    from ppdet_res2net.modeling import Res2NetClassifier
    from ppdet_res2net.zoo.formats import save_weights_file
    from ppdet_res2net.zoo.load import trunk_metadata
    from res2net_runtime.classification import ClassifierPreprocessor

    network = Res2NetClassifier(2, depth=[1, 1, 1, 1], width=4, scales=2)  # instead of a file of 100 MB
    monkeypatch.setattr(model, "create_classifier", lambda name, num_classes: network)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_weights_file(tmp_path / "best.pdparams", tensors, trunk_metadata(network))
    info = {
        "class_names": ["dark", "light"],
        "category_ids": [0, 1],
        "backbone": model.trunk_arguments(network, "bn"),
        "preprocess": ClassifierPreprocessor(size_px=96, crop_fraction=1.0).to_config(),
    }
    (tmp_path / "best.json").write_text(json.dumps(info))
    loaded = model.load_classifier("timm/res2net50_26w_4s", tmp_path / "best")
    assert loaded.preprocessor.size_px == 96 and loaded.class_names == ("dark", "light")


def test_the_run_writes_the_recipe(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--model", "timm/res2net50_26w_4s", "--data", str(folders), "--no_pretrained", "--image_size", "32"]
    assert (
        main(["train", *words, "--batch_size", "2", "--max_steps", "1", "--epochs", "1", "--workers", "1", *TINY]) == 0
    )
    config = Path("output/timm_res2net50_26w_4s_data/config.yml")
    assert load_config(config)["pretrain_weights"] is None
    assert main(["train", "-c", str(config), "--max_steps", "1", "-o", "save_dir=again"]) == 0
