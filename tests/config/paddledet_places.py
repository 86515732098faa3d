"""Where paddledet 2.6.0 evaluates text, unpickles, loads weights, starts programs or downloads, and why no recipe gets there.

Each place was read. A recipe that is not trusted names only the classes of ``config/modules.py`` and ``config/readers.py``.
"""

from __future__ import annotations

NOT_ALLOWED = "the class is not on the allow list"
NOT_SETTABLE = "the class is allowed, but not the argument that leads there: "
NOT_CALLED = "nothing in this package calls it, nor does any class on the allow list: "

# File, enclosing class and function, what is called -> the reason. For NOT_SETTABLE, the argument follows; for NOT_CALLED,
# who does call it.
REVIEWED = {
    ("core/config/schema.py", "extract_schema", "importlib.import_module"): NOT_CALLED
    + "registering a class imports the module that the class is in, which is imported already",
    ("core/config/yaml_helpers.py", "Callable.__call__", "importlib.import_module"): NOT_ALLOWED,
    ("core/workspace.py", "_load_config_with_base", "yaml.load"): NOT_CALLED + "ppdet's own load_config",
    ("core/workspace.py", "make_partial", "importlib.import_module"): NOT_CALLED + "registering classes with __op__",
    ("data/shm_utils.py", "_get_shared_memory_size_in_M", "os.popen"): NOT_CALLED + "ppdet's own readers",
    ("data/source/dataset.py", "DetDataset.check_or_download_dataset", "get_dataset_path"): NOT_CALLED
    + "ppdet's own trainer; only COCODataSet of this package is read here, which downloads nothing",
    ("data/source/mot.py", "video2frames", "os.system"): NOT_CALLED + "MOTImageFolder",
    ("data/transform/operators.py", "DecodeCache.load", "pickle.load"): NOT_ALLOWED,
    ("data/transform/operators.py", "DecodeCache.dump", "pickle.dump"): NOT_ALLOWED,
    ("engine/tracker.py", "Tracker.mot_evaluate", "os.system"): NOT_ALLOWED,
    ("engine/tracker.py", "Tracker.mot_predict_seq", "os.system"): NOT_ALLOWED,
    ("model_zoo/model_zoo.py", "get_config_file", "get_config_path"): NOT_CALLED + "ppdet's own model zoo",
    ("modeling/backbones/convnext.py", "ConvNeXt.__init__", "paddle.load"): NOT_ALLOWED,
    ("modeling/backbones/convnext.py", "ConvNeXt.__init__", "get_weights_path_from_url"): NOT_ALLOWED,
    ("modeling/backbones/swin_transformer.py", "SwinTransformer.__init__", "paddle.load"): NOT_SETTABLE + "pretrained",
    ("modeling/backbones/swin_transformer.py", "SwinTransformer.__init__", "get_weights_path_from_url"): NOT_SETTABLE
    + "pretrained",
    ("modeling/backbones/trans_encoder.py", "BertFeedForward.__init__", "eval"): NOT_ALLOWED,
    ("modeling/backbones/vision_transformer.py", "Block.__init__", "eval"): NOT_ALLOWED,
    ("modeling/backbones/vision_transformer.py", "VisionTransformer.init_weight", "paddle.load"): NOT_ALLOWED,
    (
        "modeling/backbones/vision_transformer.py",
        "VisionTransformer.init_weight",
        "get_weights_path_from_url",
    ): NOT_ALLOWED,
    ("modeling/necks/custom_pan.py", "CSPStage.__init__", "eval"): NOT_ALLOWED,
    ("modeling/necks/custom_pan.py", "CustomCSPPAN.__init__", "eval"): NOT_ALLOWED,
    ("modeling/reid/pyramidal_embedding.py", "PCBPyramid.__init__", "eval"): NOT_ALLOWED,
    ("modeling/reid/resnet.py", "ResNet50", "paddle.load"): NOT_CALLED + "PCBPyramid and ResNetEmbedding",
    ("modeling/reid/resnet.py", "ResNet101", "paddle.load"): NOT_CALLED + "PCBPyramid and ResNetEmbedding",
    ("modeling/reid/resnet_embedding.py", "ResNetEmbedding.__init__", "eval"): NOT_ALLOWED,
    ("optimizer/adamw.py", "build_adamwdl", "eval"): NOT_CALLED
    + "OptimizerBuilder for the optimizer AdamWDL, which a recipe may not choose",
    ("slim/__init__.py", "build_slim_model", "yaml.load"): NOT_CALLED + "ppdet's own tools, for --slim_config",
    ("utils/cam_utils.py", "BBoxCAM.set_hook", "exec"): NOT_ALLOWED,
    ("utils/checkpoint.py", "load_weight", "paddle.load"): NOT_CALLED + "ppdet's own trainers",
    ("utils/checkpoint.py", "load_weight", "get_weights_path"): NOT_CALLED + "ppdet's own trainers",
    ("utils/checkpoint.py", "load_pretrain_weight", "paddle.load"): NOT_CALLED + "ppdet's own trainers and slim",
    ("utils/checkpoint.py", "load_pretrain_weight", "get_weights_path"): NOT_CALLED + "ppdet's own trainers and slim",
    ("utils/cli.py", "ArgsParser._parse_opt", "yaml.load"): NOT_ALLOWED,
    ("utils/download.py", "get_weights_path", "get_path"): NOT_CALLED + "load_weight",
    ("utils/download.py", "get_dataset_path", "get_path"): NOT_CALLED + "DetDataset.check_or_download_dataset",
    ("utils/download.py", "download_dataset", "get_path"): NOT_CALLED + "PaddleDetection's scripts",
    ("utils/download.py", "_download", "requests.get"): NOT_CALLED + "get_path",
    ("utils/download.py", "_download_dist", "_download"): NOT_CALLED + "get_path",
    ("utils/download.py", "_md5check_from_url", "requests.get"): NOT_CALLED + "get_path",
}
