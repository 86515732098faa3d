"""What a report is about: dataset, settings, run, and the images, detections and objects that it names.

Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AnnotationRef",
    "ClassSummary",
    "DatasetSummary",
    "DetectionRef",
    "ImageRef",
    "RunFacts",
    "Settings",
]


@dataclass
class ClassSummary:
    """What the dataset has of a class.

    Attributes:
        category_id: Id of the category.
        name: Its name.
        images: Images with an object of it.
        objects: Its objects, without crowds and ignored ones.
        set_aside: Its crowd regions and ignored objects, in which detections are neither right nor wrong.
    """

    category_id: int
    name: str
    images: int
    objects: int
    set_aside: int


@dataclass
class DatasetSummary:
    """What was evaluated on.

    Attributes:
        source: Name of the annotation file.
        images: Images that were evaluated.
        empty_images: Those without any object.
        objects: Objects, without crowds and ignored ones.
        set_aside: Crowd regions and ignored objects.
        sizes: Objects of COCO's sizes: ``small``, ``medium``, ``large``.
        classes: The classes, in the order of the file. Every list of classes in a report has this order.
    """

    source: str
    images: int
    empty_images: int
    objects: int
    set_aside: int
    sizes: dict[str, int]
    classes: list[ClassSummary]


@dataclass
class Settings:
    """What the figures depend on.

    Attributes:
        iou: IoU from which a detection is on an object, for everything but AP.
        background_iou: IoU up to which a detection is on background.
        score: Score from which detections count in the confusion matrix and in groups; None for the best threshold of the kind.
        suspect_score: Score from which a detection without annotation is suspected to be a label error; None for the larger of
            0.5 and the best threshold of its class.
        unseen_score: An annotation is suspected if no detection from this score on overlaps it.
        max_detections: Detections per image and class that count, as in COCO.
        calibration_bins: Number of equal ranges of scores.
        max_entries: Largest number of worst images, of mistakes and of suspects.
        max_image_ids: Largest number of images that are named per cell of the confusion matrix.
        boundary: Whether boundary AP is measured for masks.
    """

    iou: float = 0.5
    background_iou: float = 0.1
    score: float | None = None
    suspect_score: float | None = None
    unseen_score: float = 0.05
    max_detections: int = 100
    calibration_bins: int = 15
    max_entries: int = 60
    max_image_ids: int = 20
    boundary: bool = True


@dataclass
class RunFacts:
    """How the detections were made; None where it is not known, as for result files of other tools.

    Attributes:
        model: What ran: a recipe, an exported folder, or result files.
        engine: Engine and precision.
        device: Device.
        seconds: Time for all images.
        images_per_second: Images per second.
        peak_memory_mb: Largest memory of the process in MiB.
    """

    model: str | None = None
    engine: str | None = None
    device: str | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None


@dataclass
class ImageRef:
    """An image that the report names.

    Attributes:
        id: Its id.
        file_name: Its file, as the annotation file writes it.
        height: Annotated height in pixels.
        width: Annotated width in pixels.
    """

    id: int
    file_name: str
    height: int
    width: int


@dataclass
class DetectionRef:
    """A detection that the report names.

    Attributes:
        index: Its place in the list of results, from 0.
        category_id: Its class.
        score: Its score.
        bbox_xywh: Its box; that of its mask if the results have no boxes.
    """

    index: int
    category_id: int
    score: float
    bbox_xywh: list[float]


@dataclass
class AnnotationRef:
    """An object that the report names.

    Attributes:
        id: Its id in the annotation file.
        category_id: Its class.
        bbox_xywh: Its box.
    """

    id: int
    category_id: int
    bbox_xywh: list[float]
