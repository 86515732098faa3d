"""Training: the files of a run, exact resuming, interrupts, and everything that training refuses."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.datasets.demo_scenes import CATEGORIES
from ppdet_res2net.detection.task import train
from ppdet_res2net.errors import ConfigError, DatasetError, TrainingError, WeightsError
from tests.helpers.training_runs import (
    annotation_file,
    assert_equal_tensors,
    copy_data,
    edit_annotations,
    losses_by_step,
    make_config,
    messages,
    overrides_for,
    read_metrics,
    read_tensors,
)

ROOT = Path(__file__).resolve().parents[2]


def _checkpoint_files(name: str) -> set[str]:
    return {f"{name}.{suffix}" for suffix in ("pdparams", "json", "pdstate")}


def test_a_run_leaves_checkpoints_the_configuration_and_its_logs(trained, demo_data):
    expected = {
        *_checkpoint_files("model_final"),
        *_checkpoint_files("0"),
        "config.yml",
        "curves.png",
        "index.html",
        "metrics.jsonl",
        "train.log",
    }
    assert {file.name for file in trained.iterdir()} == expected

    saved = load_config(trained / "config.yml")
    assert saved["num_classes"] == 3
    assert saved["TrainReader"]["batch_size"] == 2

    records = read_metrics(trained)
    assert [(record["step"], record["epoch"]) for record in records] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    for record in records:
        assert all(math.isfinite(value) for value in record.values() if isinstance(value, float))
        assert record["loss"] == pytest.approx(sum(v for k, v in record.items() if k.startswith("loss_")), rel=1e-5)
        assert record["images_per_s"] > 0 and record["memory_mib"] > 0
    assert {"loss_mask", "loss_rpn_cls", "loss_rpn_reg", "loss_bbox_cls", "loss_bbox_reg"} < records[0].keys()

    log = (trained / "train.log").read_text()
    assert re.search(
        r"epoch 2 of 2, step 4/4: loss \d\S+, lr 0\.0\d+, .*images/s, \d+ MiB, ETA 0:00:00\n    (?s:.*)data .* s of",
        log,
    )

    info = json.loads((trained / "model_final.json").read_text())
    categories = json.loads(annotation_file(demo_data).read_text())["categories"]
    assert info["class_names"] == [category["name"] for category in categories]
    assert info["category_ids"] == [category["id"] for category in categories]
    assert info["step"] == 4 and info["architecture"] == "MaskRCNN"


def test_resuming_at_an_epoch_and_in_the_middle_of_one_is_exact(trained, demo_data, tmp_path):
    short = ("TrainDataset.sample_num=4", "epoch=2")
    expected = read_tensors(trained / "model_final.pdparams")

    at_epoch = train(make_config(demo_data, tmp_path / "a", *short), resume=str(trained / "0"))
    assert at_epoch.steps == 4
    assert_equal_tensors(read_tensors(at_epoch.run_dir / "model_final.pdparams"), expected)
    assert losses_by_step(at_epoch.run_dir) == {k: v for k, v in losses_by_step(trained).items() if k > 2}

    stopped = train(make_config(demo_data, tmp_path / "b", *short), max_steps=3)
    assert (stopped.steps, stopped.interrupted) == (3, False)
    resumed = train(make_config(demo_data, tmp_path / "b", *short), resume=f"{stopped.run_dir}/model_final.pdparams")
    assert_equal_tensors(read_tensors(resumed.run_dir / "model_final.pdparams"), expected)
    assert losses_by_step(resumed.run_dir) == losses_by_step(trained)  # its log goes on in the same file


def test_an_evaluating_run_keeps_the_best_model(demo_data, tmp_path):
    config = make_config(demo_data, tmp_path, "TrainDataset.sample_num=4", "EvalDataset.sample_num=2", "classwise=true")
    result = train(config, evaluate=True)
    assert _checkpoint_files("best_model") < {file.name for file in result.run_dir.iterdir()}
    (record,) = read_metrics(result.run_dir, "eval")
    assert record["step"] == 2 and record["images"] == 2
    assert record["bbox"] == result.metrics["bbox"]
    for kind in ("bbox", "segm"):
        assert [one["class"] for one in record[kind]["classes"]] == list(CATEGORIES.values())
        assert all({"AP", "AP50"} < one.keys() for one in record[kind]["classes"])
    log = (result.run_dir / "train.log").read_text()
    assert log.count(" class ") == 2 and all(name in log for name in CATEGORIES.values())
    assert json.loads((result.run_dir / "best_model.json").read_text())["metrics"]["bbox"] == record["bbox"]


def test_the_best_score_survives_a_resume(demo_data, tmp_path, monkeypatch):
    from ppdet_res2net.detection import evaluate as evaluate_module

    scores = iter([0.6, 0.4])
    result = evaluate_module.EvalResult({}, "")

    def score(*args, **kwargs):
        result.summary.clear()
        result.summary.update({"bbox": {"AP": next(scores)}, "images": 1, "seconds": 0.0})
        return evaluate_module.EvalResult(json.loads(json.dumps(result.summary)), "table")

    monkeypatch.setattr(sys.modules["ppdet_res2net.detection.task"], "evaluate_detector", score)
    short = ("TrainDataset.sample_num=2", "epoch=2")
    run_dir = train(make_config(demo_data, tmp_path, *short), evaluate=True, max_steps=1).run_dir
    train(make_config(demo_data, tmp_path, *short), evaluate=True, resume=str(run_dir / "model_final"))
    assert json.loads((run_dir / "best_model.json").read_text())["metrics"]["bbox"]["AP"] == 0.6
    assert json.loads((run_dir / "model_final.json").read_text())["metrics"]["bbox"]["AP"] == 0.4


def test_max_steps_below_one_is_refused(demo_data, tmp_path):
    with pytest.raises(ConfigError, match="max_steps is 0; it must be 1 or more"):
        train(make_config(demo_data, tmp_path), max_steps=0)


def test_a_finished_run_cannot_be_resumed(trained, demo_data, tmp_path):
    config = make_config(demo_data, tmp_path, "TrainDataset.sample_num=4", "epoch=2")
    with pytest.raises(ConfigError, match="it has done 4 steps, and this run ends after 4. Train longer"):
        train(config, resume=str(trained / "model_final"))


def test_resuming_with_other_data_or_another_seed_is_refused(trained, demo_data, tmp_path):
    config = make_config(demo_data, tmp_path, "TrainDataset.sample_num=6", "epoch=2")
    with pytest.raises(ConfigError, match="2 steps per epoch of 2 images, this one has 3 of 2.*-o pretrain_weights="):
        train(config, resume=str(trained / "0"))
    config = make_config(demo_data, tmp_path, "TrainDataset.sample_num=4", "epoch=2", "seed=5")
    with pytest.raises(ConfigError, match="its run has seed 0, the configuration 5. Pass -o seed=0"):
        train(config, resume=str(trained / "0"))


def test_ctrl_c_saves_a_checkpoint_from_which_training_goes_on(demo_data, tmp_path):
    overrides = [*overrides_for(demo_data, tmp_path), "TrainDataset.repeat=20", "worker_num=1"]
    command = [sys.executable, "-m", "ppdet_res2net", "train", "-c", "demo_mask_rcnn", "-o", *overrides]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=_environment(), cwd=tmp_path
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "step 1/" in line:
            os.killpg(process.pid, signal.SIGINT)  # also to the worker processes, as a terminal does
            break
    lines += process.stderr.readlines()
    assert process.wait(60) == 130, "".join(lines)
    log = "".join(lines)
    assert "SIGINT: saving a checkpoint after this step; Ctrl-C now stops at once" in log
    assert "Traceback" not in log
    run_dir = tmp_path / "demo_mask_rcnn"
    assert f"interrupted by SIGINT; continue with -r {run_dir / 'interrupted'} or -r auto" in log
    done = json.loads((run_dir / "interrupted.json").read_text())["step"]
    assert done >= 1

    config = make_config(demo_data, tmp_path, "TrainDataset.repeat=20")
    result = train(config, resume=str(run_dir / "interrupted"), max_steps=done + 1)
    assert result.steps == done + 1 and not result.interrupted


def test_a_signal_during_the_last_step_does_not_spoil_the_run(demo_data, tmp_path, monkeypatch):
    from ppdet_res2net.training.run_log import RunLog

    original = RunLog.step

    def step_and_signal(self, *args):
        original(self, *args)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "step", step_and_signal)
    result = train(make_config(demo_data, tmp_path), max_steps=1)
    assert not result.interrupted
    assert (result.run_dir / "model_final.pdstate").is_file()
    assert not (result.run_dir / "interrupted.pdparams").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(demo_data, tmp_path):
    config = make_config(
        demo_data, tmp_path, "LearningRate.base_lr=1000", "OptimizerBuilder.clip_grad_by_norm=null",
        "LearningRate.schedulers.1.start_factor=1.0", "epoch=2",
    )  # fmt: skip
    with pytest.raises(TrainingError) as error:
        train(config)
    assert re.search(
        r"The loss or a gradient is not finite at step \d+ \(epoch \d of \d+\): loss_.*loss_bbox_cls .*loss .*"
        r"\(image ids 1000\d\d, 1000\d\d\); "
        r"gradient norm \S+; learning rate 1000\. The checkpoints in .* Usual causes: the learning rate",
        str(error.value),
    )


def test_frozen_normalization_without_pretrained_weights_is_refused(demo_data, tmp_path):
    frozen = make_config(demo_data, tmp_path, "Res2Net.freeze_norm=true")
    with pytest.raises(ConfigError, match="freeze_norm is set but there are no pretrain_weights.*loss becomes nan"):
        train(frozen)
    assert not tmp_path.joinpath("demo_mask_rcnn").exists()


def test_the_number_of_classes_is_taken_from_the_data_aloud(demo_data, tmp_path, caplog):
    config = make_config(demo_data, tmp_path, "num_classes=80")
    result = train(config, max_steps=1)
    assert "num_classes is set to 3, the number of categories in" in messages(caplog)
    assert "the configuration says 80" in messages(caplog)
    assert load_config(result.run_dir / "config.yml")["num_classes"] == 3
    assert read_tensors(result.run_dir / "model_final.pdparams")["bbox_head.bbox_score.weight"].shape[1] == 4


def test_training_starts_from_the_weights_of_a_trunk(demo_data, tmp_path, caplog, trained):
    from ppdet_res2net.zoo.formats import save_weights_file

    tensors = read_tensors(trained / "model_final.pdparams")
    trunk = {name[len("backbone.") :]: array for name, array in tensors.items() if name.startswith("backbone.")}
    save_weights_file(tmp_path / "trunk.pdparams", trunk, {"dialect": "paddle"})
    config = make_config(demo_data, tmp_path, f"pretrain_weights={tmp_path}/trunk.pdparams", "LearningRate.base_lr=0.0")
    caplog.set_level(logging.INFO)
    after = read_tensors(train(config, max_steps=1).run_dir / "model_final.pdparams")
    conv = [name for name in trunk if name.endswith("conv.weight")]
    assert conv
    assert_equal_tensors({n: after[f"backbone.{n}"] for n in conv}, {n: trunk[n] for n in conv})
    assert "trunk.pdparams" in messages(caplog)


def test_training_starts_from_a_detector_with_other_classes(demo_data, tmp_path, trained):
    data = copy_data(demo_data, tmp_path)
    edit_annotations(data, lambda content: content["categories"].append({"id": 99, "name": "star"}))
    config = make_config(
        data, tmp_path, f"pretrain_weights={trained}/model_final", "LearningRate.base_lr=0.0", "num_classes=4"
    )
    after = read_tensors(train(config, max_steps=1).run_dir / "model_final.pdparams")
    before = read_tensors(trained / "model_final.pdparams")
    assert after["bbox_head.bbox_score.weight"].shape[1] == 5
    same = {n for n, a in before.items() if a.shape == after[n].shape and a.tobytes() == after[n].tobytes()}
    assert {"bbox_head.head.fc6.weight", "rpn_head.rpn_feat.rpn_conv.weight"} <= same


def test_weights_of_another_architecture_are_refused(demo_data, tmp_path, trained):
    config = make_config(demo_data, tmp_path, f"pretrain_weights={trained}/model_final", "Res2Net.width=16")
    with pytest.raises(WeightsError, match=r"the file does not fit the model(.|\n)*Nothing was loaded"):
        train(config)
    config = make_config(demo_data, tmp_path, f"pretrain_weights={trained}/model_final", "Res2Net.dialect=official")
    with pytest.raises(WeightsError, match="Pass '-o Res2Net.dialect=paddle'"):
        train(config)
    config = make_config(demo_data, tmp_path, "pretrain_weights=no/such/file")
    with pytest.raises(WeightsError, match="neither no/such/file nor no/such/file.pdparams exists"):
        train(config)


def test_a_run_folder_that_cannot_be_written_is_an_error(demo_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="run's folder '.*file/demo_mask_rcnn' cannot be written.*save_dir=FOLDER"):
        train(make_config(demo_data, tmp_path / "file"))


def test_images_without_objects_and_crowds_train(demo_data, tmp_path):
    data = copy_data(demo_data, tmp_path)

    def only_crowds_and_nothing(content):
        first = content["images"][0]["id"]
        kept = [a for a in content["annotations"] if a["image_id"] == first]
        size = [content["images"][0]["height"], content["images"][0]["width"]]
        kept[0].update(iscrowd=1, segmentation={"size": size, "counts": [10, 20, size[0] * size[1] - 30]})
        content["annotations"] = kept
        content["images"] = content["images"][:4]

    edit_annotations(data, only_crowds_and_nothing)
    config = make_config(data, tmp_path, "TrainDataset.allow_empty=true", "TrainDataset.load_crowd=true")
    result = train(config)
    records = read_metrics(result.run_dir)
    assert len(records) == 2
    assert all(math.isfinite(record["loss"]) for record in records)
    assert min(record["loss_bbox_reg"] for record in records) == 0  # one of the batches has no object at all


def test_masks_that_are_to_be_trained_must_be_there(demo_data, tmp_path):
    fields = "TrainDataset.data_fields=[image,gt_bbox,gt_class,is_crowd]"
    message = (
        r"data_fields are image, gt_bbox, gt_class, is_crowd: MaskRCNN cannot be trained without gt_poly\. Pass -o "
        r"TrainDataset\.data_fields=\[image,gt_bbox,gt_class,gt_poly,is_crowd\], or use a Faster R-CNN recipe"
    )
    with pytest.raises(ConfigError, match=message):
        train(make_config(demo_data, tmp_path, fields))
    with pytest.raises(ConfigError, match=r"without gt_bbox and gt_poly\. Pass -o [^ ]*\]\."):
        train(make_config(demo_data, tmp_path, "TrainDataset.data_fields=[image,gt_class]"))
    data = copy_data(demo_data, tmp_path)
    edit_annotations(data, lambda content: [a.pop("segmentation") for a in content["annotations"]])
    with pytest.raises(DatasetError, match="none of the .* annotations has a segmentation.*this recipe trains masks"):
        train(make_config(data, tmp_path))
    assert not tmp_path.joinpath("demo_mask_rcnn").exists()


def test_a_worker_has_the_time_that_the_configuration_allows(demo_data, tmp_path, monkeypatch):
    from ppdet_res2net.data import workers

    monkeypatch.setattr(workers._Worker, "read_stack", lambda self: "its stack")
    monkeypatch.setattr(workers, "wait", lambda objects, seconds: [])
    with pytest.raises(TrainingError, match="has not delivered the batch .* within 7 s. It was here:\nits stack\n"):
        train(make_config(demo_data, tmp_path, "worker_num=1", "worker_time_limit_s=7"))


def test_wrong_data_is_named(demo_data, tmp_path):
    with pytest.raises(DatasetError, match="dataset folder not found: .*Nothing is downloaded"):
        train(make_config(tmp_path / "nothing", tmp_path))
    data = copy_data(demo_data, tmp_path)
    broken = next(file for file in sorted((data / "train2017").iterdir()))
    broken.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=rf"{broken.name}' \(image id 100000\)"):
        train(make_config(data, tmp_path))
    shutil.rmtree(data / "train2017")
    with pytest.raises(DatasetError, match="image folder not found"):
        train(make_config(data, tmp_path))
    annotation_file(data).write_text("{")
    with pytest.raises(DatasetError):
        train(make_config(data, tmp_path))


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
