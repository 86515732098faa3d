"""Recipes that run code, take all memory, or never end are refused; each message names the limit and stays short."""

from __future__ import annotations

import json
import os

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import create_from_config

RECIPE = "demo_mask_rcnn"
SHELL = "__import__('os').system('touch {flag}')"
TRUST = "If you trust this recipe as you trust a program, pass --trust_recipe (in Python: trust_recipe=True)."

# Each was seen to run the command, or to unpickle the file, with ppdet's classes: settings of a file -> what is said.
ATTACKS = {
    'MaskRCNN: {{neck: CustomCSPPAN}}\nCustomCSPPAN: {{stage_fn: "{code}"}}': "'CustomCSPPAN', which a recipe may not name",
    'CustomCSPPAN: {{block_fn: "{code}"}}': "the section 'CustomCSPPAN' is the module of that name, which a recipe may not",
    'save_dir: !CustomCSPPAN {{stage_fn: "{code}"}}': "line 2: the tag is !CustomCSPPAN, which a recipe may not name",
    'FPN: {{out_channel: !CustomCSPPAN {{stage_fn: "{code}"}}}}': "line 2: the tag is !CustomCSPPAN, which a recipe may not",
    'HRFPN: {{unused: [1, {{x: !CustomCSPPAN {{stage_fn: "{code}"}}}}]}}': "line 2: the tag is !CustomCSPPAN",
    'TrainReader: {{inputs_def: {{x: !CustomCSPPAN {{stage_fn: "{code}"}}}}}}': "line 2: the tag is !CustomCSPPAN",
    'MaskRCNN: {{backbone: VisionTransformer}}\nVisionTransformer: {{norm_layer: "{code}"}}': "'VisionTransformer', which a",
    'Res2Net: !VisionTransformer {{norm_layer: "{code}"}}': "line 2: the tag is !VisionTransformer",
    'OptimizerBuilder: {{optimizer: {{type: AdamWDL, set_param_lr_func: "{code}"}}}}': "'AdamWDL', which a recipe may not",
    'TransEncoder: {{act_fn: "{code}"}}': "the section 'TransEncoder' is the module of that name",
    'PCBPyramid: {{model_name: "{code}"}}': "the section 'PCBPyramid' is the module of that name",
    "TrainReader: {{sample_transforms: [DecodeCache: {{cache_root: {flag}}}]}}": "is DecodeCache, which a recipe may not",
    "TrainReader: {{sample_transforms: [RandomSelect: {{transforms1: [DecodeCache: {{}}], transforms2: []}}]}}": "is DecodeC",
    "TrainReader: {{sample_transforms: [DebugVisibleImage: {{output_dir: {flag}}}]}}": "is DebugVisibleImage, which a rec",
    "MaskRCNN: {{backbone: ConvNeXt}}\nConvNeXt: {{pretrained: {flag}}}": "'ConvNeXt', which a recipe may not name",
    "SwinTransformer: {{pretrained: {flag}}}": "'SwinTransformer.pretrained' cannot be set by a recipe: it is given to padd",
    "architecture: DistillModel": "'architecture' is 'DistillModel', which is a module but not a whole detector",
    "architecture: DeepSORT": "'architecture' is 'DeepSORT', which a recipe may not name",
    "trust_recipe: true": "a recipe cannot vouch for itself. Remove the key; whoever runs the recipe passes --trust_recipe.",
}


def refusal(path: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    assert len(str(error.value)) < 20_000
    return str(error.value)


@pytest.mark.parametrize("settings", ATTACKS)
def test_a_recipe_runs_no_code(settings, tmp_path):
    flag = tmp_path / "executed"
    text = settings.format(code=SHELL.format(flag=flag), flag=flag)
    path = tmp_path / "attack.yml"
    path.write_text(f"_BASE_: [{RECIPE}]\n{text}")
    assert ATTACKS[settings] in refusal(path)
    assert not flag.exists()


@pytest.mark.parametrize(
    "override",
    [
        "MaskRCNN.neck=CustomCSPPAN",
        "MaskRCNN.neck=!CustomCSPPAN {{stage_fn: {code}}}",
        'CustomCSPPAN.stage_fn="{code}"',
        "OptimizerBuilder.optimizer={{type: AdamWDL}}",
        "OptimizerBuilder.optimizer.type=AdamWDL",
        "SwinTransformer.norm_layer=x",
        "BBoxPostProcess.nms={{name: CustomCSPPAN}}",
        "TestDataset.name=MOTImageFolder",
    ],
)
def test_an_override_runs_no_code(override, tmp_path):
    flag = tmp_path / "executed"
    refusal(RECIPE, override.format(code=SHELL.format(flag=flag)))
    assert not flag.exists()


def test_a_trusted_recipe_runs_the_code_that_is_refused_otherwise(tmp_path):
    """Shows that the attacks above work, and what trust means."""
    flag, path = tmp_path / "executed", tmp_path / "attack.yml"
    path.write_text(f'_BASE_: [{RECIPE}]\nVisionTransformer: {{norm_layer: "{SHELL.format(flag=flag)}"}}')
    assert TRUST in refusal(path)
    config = load_config(path, trust_recipe=True)
    assert not flag.exists()  # reading it runs nothing
    with pytest.raises(ConfigError):
        create_from_config(config, "VisionTransformer", **{})
    assert flag.exists()


def test_a_tag_below_a_section_that_is_not_used_is_never_built(tmp_path):
    flag, path = tmp_path / "executed", tmp_path / "unused.yml"
    tag = f'!CustomCSPPAN {{stage_fn: "{SHELL.format(flag=flag)}"}}'
    path.write_text(f"_BASE_: [{RECIPE}]\nYOLOv3FPN: {tag}\n")
    config = load_config(path, ["Res2Net.width=4"], trust_recipe=True)
    create_from_config(config, "Res2Net")
    assert not flag.exists()


def test_a_module_of_ones_own_needs_trust(tmp_path):
    from ppdet.core.workspace import global_config, register
    from ppdet.modeling.proposal_generator.rpn_head import RPNHead

    own = type("OwnRPNHead", (RPNHead,), {"__module__": __name__})
    globals()["OwnRPNHead"] = own
    register(own)
    try:
        settings = ["MaskRCNN.rpn_head=OwnRPNHead", "OwnRPNHead.in_channel=8"]
        assert "'MaskRCNN.rpn_head' is 'OwnRPNHead', which a recipe may not name" in refusal(RECIPE, *settings)
        assert load_config(RECIPE, settings, trust_recipe=True)["OwnRPNHead"] == {"in_channel": 8}
        with pytest.raises(ConfigError, match="'OwnRPNHead' has no argument 'in_chanel'. Did you mean 'in_channel'"):
            load_config(RECIPE, [*settings, "OwnRPNHead.in_chanel=8"], trust_recipe=True)
    finally:
        global_config.pop("OwnRPNHead")
        del globals()["OwnRPNHead"]


# ---------------------------------------------------------------- sizes

BOMB = "\n".join(f"k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(9))
CHAIN = "\n".join(f"k{i}: &a{i} [{f'*a{i - 1}' if i else 'x'}]" for i in range(60))
# Each mapping merges the one before twice, which PyYAML does by copying it.
MERGE_BOMB = "k0: &m0 {x: 1}\n" + "\n".join(f"k{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 30))
UNPRINTABLE = "which contains a control character or half of a surrogate pair. Remove it."
LARGE = {
    BOMB: "there are more than 20000 values, if each alias counts as what it stands for. Simplify the file.",
    CHAIN: "line 40: the values are nested more than 40 deep. Simplify the file.",
    MERGE_BOMB: "there are more than 20000 values",
    "x: " + "[" * 100 + "]" * 100: "the values are nested more than 40 deep. Simplify the file.",
    "x: " + "a" * 600_000: "has 600003 characters; a recipe may have 500000. Check that it is the right file.",
    "\n".join(f"unknown_{i}: 1" for i in range(5000)): "The configuration has more than 20 mistakes; the first are:",
    "save_dir: " + "a" * 100_000: "'save_dir' has 100000 characters; at most 4096 are accepted. Shorten it.",
    "epoch: " + "a" * 100_000: "...",
    "b" * 900 + ": 1": "unknown key 'bbbb",
    "epoch: " + "9" * 5000: "line 1: a number has 5000 characters; at most 200 are read. Simplify the file.",
    "_BASE_: [0x" + "f" * 5000 + "]": "line 1: a number has 5002 characters",
    "epoch: 0x" + "f" * 199: "line 1: a number has 201 characters",
    "epoch: !!int '" + "1:" * 200_000 + "1'": "line 1: a number has 400001 characters",
    "epoch: 0x" + "f" * 198: "'epoch' is 2604693",
    "epoch: !!timestamp abc": "this is not valid YAML: a value does not match its tag",
    "epoch: !!int abc": "this is not valid YAML: ",
    "epoch: !!bool abc": "this is not valid YAML: a value does not match its tag",
    "epoch: !!float ''": "this is not valid YAML: ",
    "epoch: !!binary 0": "this is not valid YAML: ",
    'save_dir: "\\ud800"': "'save_dir' is '\\ud800', " + UNPRINTABLE,
    'save_dir: "a\\0b"': "'save_dir' is 'a\\x00b', " + UNPRINTABLE,
    "[1]: 2": "this is not valid YAML: found unhashable key",
    "<<: 3": "this is not valid YAML: expected a mapping or list of mappings for merging",
}


@pytest.mark.parametrize("text", LARGE, ids=range(len(LARGE)))
def test_what_is_too_large_or_malformed_is_refused_quickly(text, tmp_path):
    path = tmp_path / "a.yml"
    path.write_text(text)
    found = refusal(path)
    assert LARGE[text] in found and str(path) in found
    assert found.isprintable() or "\n" in found


def test_doubling_chains_of_bases_are_read_once_each(tmp_path):
    (tmp_path / "0.yml").write_text("epoch: 3\nlog_iter: 1")
    for index in range(1, 60):
        (tmp_path / f"{index}.yml").write_text(f"_BASE_: [{index - 1}.yml, {index - 1}.yml]\nlog_iter: {index + 1}")
    assert load_config(tmp_path / "59.yml") == {"epoch": 3, "log_iter": 60}


def test_too_many_files_are_refused(tmp_path):
    (tmp_path / "0.yml").write_text("epoch: 3")
    for index in range(1, 120):
        (tmp_path / f"{index}.yml").write_text(f"_BASE_: [{index - 1}.yml]")
    assert "_BASE_ leads to more than 100 files. Merge some of them." in refusal(tmp_path / "119.yml")
    (tmp_path / "many.yml").write_text(f"_BASE_: [{', '.join(['0.yml'] * 200)}]")
    assert "_BASE_ has 200 entries; at most 100 are read. Merge some of them." in refusal(tmp_path / "many.yml")


@pytest.mark.parametrize("name", ["x/" * 3000 + "a", "x" * 5000, "\ud800", "a\0b"])
def test_a_name_that_no_file_can_have_is_not_found(name, tmp_path):
    (tmp_path / "a.yml").write_text(f"_BASE_: [{json.dumps(name)}]")
    assert "_BASE_ names '" in refusal(tmp_path / "a.yml")
    assert "There is no configuration file" in refusal(name)


def test_an_override_with_many_keys_is_refused():
    assert "it has 3000 keys; at most 40 are read." in refusal(RECIPE, ".".join(["a"] * 3000) + "=1")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_of_unicode_are_read(encoding, tmp_path):
    (tmp_path / "a.yml").write_bytes("save_dir: données\nepoch: 3\n".encode(encoding))
    assert load_config(tmp_path / "a.yml") == {"save_dir": "données", "epoch": 3}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.yml")
    assert "There is no configuration file" in refusal(tmp_path / "a.yml")
    (tmp_path / "b.yml").write_text("_BASE_: [a.yml]")
    assert "but there is no file" in refusal(tmp_path / "b.yml")


@pytest.mark.parametrize("name", ["GridMask", "MultiscaleTestResize", "Mixup", "Cutmix"])
def test_transforms_that_cannot_work_are_refused_even_if_the_recipe_is_trusted(name):
    with pytest.raises(ConfigError, match=f"is {name}, which cannot be used: .*Remove it"):
        load_config(RECIPE, [f"TrainReader.sample_transforms=[Decode: {{}}, {name}: {{}}]"], trust_recipe=True)


@pytest.mark.parametrize(
    "text",
    [
        "%TAG !e! !\n---\nsave_dir: !e!CustomCSPPAN {}",
        "%TAG !e! tag:yaml.org,2002:python/\n---\nsave_dir: !e!name:os.system",
        "save_dir: !<!CustomCSPPAN> {}",
        "save_dir: !<tag:yaml.org,2002:python/object/apply:os.system> [ls]",
        "save_dir: !<tag:yaml.org,2002:python/object/new:os.system> {}",
        "? !CustomCSPPAN {}\n: 1",
        "_BASE_: !CustomCSPPAN {}",
        "_BASE_: [!CustomCSPPAN {}]",
        "x: &a !CustomCSPPAN {}\nFPN: {<<: *a}",
        "--- !CustomCSPPAN {}",
        "save_dir: !ppdet.modeling.necks.CustomCSPPAN {}",
        "save_dir: !customcsppan {}",
        "save_dir: !CustomCSPP\u0410N {}",
        "save_dir: ! {}\n---\nsave_dir: x",
        "epoch: 1\n---\nepoch: 2",
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_other_spellings_of_tags_are_refused(text, trust, tmp_path):
    """With trust, the tag of a class is read, but not where no class belongs."""
    path = tmp_path / "a.yml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError):
        load_config(path, trust_recipe=trust)


@pytest.mark.parametrize("base", ["/dev/zero", "/etc", "http://localhost/a.yml", "a.yml\0", "x" * 300, "~", "..", ""])
def test_a_base_that_is_no_file_is_not_opened(base, tmp_path):
    import json

    (tmp_path / "a.yml").write_text(f"_BASE_: [{json.dumps(base)}]")
    assert "a.yml: _BASE_ names '" in refusal(tmp_path / "a.yml")
