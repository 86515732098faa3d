"""``train --pretrain_weights``: a detector starts from a classifier that was trained here, on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.cli.main import main
from tests.helpers.training_runs import overrides_for, read_tensors

TRUNK = ["Res2Net.depth=[1,1,1]", "Res2Net.width=4", "Res2Net.scales=2"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The folder of a run of a small classifier, trained by the command."""
    folder = tmp_path_factory.mktemp("classifier")
    random = np.random.RandomState(0)
    for split in ("train", "val"):
        for name, shade in (("dark", 40), ("light", 210)):
            for number in range(4):
                path = folder / "data" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = random.randint(-25, 25, (16, 16, 3))
                Image.fromarray((shade + noise).astype(np.uint8)).save(path)
    settings = ["Res2Net.depth=[1,1,1,1]", *TRUNK[1:], f"save_dir={folder}", "worker_num=0", "use_gpu=false", "epoch=1"]
    settings += [f"{name}Dataset.dataset_dir={folder}/data" for name in ("Train", "Eval")] + [
        "TrainReader.batch_size=4"
    ]
    assert main(["train", "-c", "digits", "--eval", "-o", *settings]) == 0
    return folder / "digits"


def test_a_detector_starts_from_the_best_model_of_a_classifier(classifier, demo_data, tmp_path):
    settings = ["-o", *overrides_for(demo_data, tmp_path), *TRUNK, "LearningRate.base_lr=0.0"]
    words = ["-c", "demo_mask_rcnn", "--pretrain_weights", f"{classifier}/best_model", "--max_steps", "1"]
    assert main(["train", *words, *settings]) == 0
    before = read_tensors(classifier / "best_model.pdparams")
    after = read_tensors(tmp_path / "demo_mask_rcnn" / "model_final.pdparams")
    trunk = [name for name in after if name.startswith("backbone.") and name.endswith(".weight")]
    assert len(trunk) > 10
    for name in trunk:
        assert np.array_equal(after[name], before[name]), name


def test_none_starts_from_random_weights(classifier, demo_data, tmp_path):
    settings = ["-o", *overrides_for(demo_data, tmp_path), *TRUNK, f"pretrain_weights={classifier}/best_model"]
    words = ["-c", "demo_mask_rcnn", "--pretrain_weights", "none", "--max_steps", "1"]
    assert main(["train", *words, *settings, "LearningRate.base_lr=0.0"]) == 0
    before = read_tensors(classifier / "best_model.pdparams")
    after = read_tensors(tmp_path / "demo_mask_rcnn" / "model_final.pdparams")
    name = next(name for name in after if name.startswith("backbone.") and name.endswith("conv.weight"))
    assert not np.array_equal(after[name], before[name])


@pytest.mark.parametrize("name", ["", "/model.json", "/model.pdiparams", "/model.onnx", "/model.bin"])
def test_an_export_is_no_start(demo_data, tmp_path, capsys, name):
    (tmp_path / "exported").mkdir()
    for file in ("infer_cfg.yml", "model.json", "model.pdiparams", "model.onnx", "model.bin"):
        (tmp_path / "exported" / file).write_text("x")
    words = ["-c", "demo_mask_rcnn", "--pretrain_weights", f"{tmp_path}/exported{name}"]
    assert main(["train", *words, "-o", *overrides_for(demo_data, tmp_path)]) == 1
    error = capsys.readouterr().err
    assert (
        f"{tmp_path}/exported{name} belongs to an exported model, whose weights have been changed for inference."
        in error
    )
    assert "Pass the checkpoint that it was exported from, such as a run's best_model." in error
