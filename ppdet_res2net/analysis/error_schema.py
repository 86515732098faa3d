"""What ``report.json`` holds of the errors of a detector; see ``schema.py`` for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef

__all__ = [
    "Breakdown",
    "Confusion",
    "ConfusionMatrix",
    "ErrorShares",
    "Group",
    "Mistake",
    "Suspect",
    "WorstImage",
]


@dataclass
class Confusion:
    """A cell of the confusion matrix that is not empty.

    Attributes:
        truth: Class of the objects; None for background, which are detections on nothing.
        found: Class of the detections; None for background, which are objects that nothing found.
        count: How many.
        image_ids: Images with such pairs, those with most of them first; not more than ``Settings.max_image_ids``.
    """

    truth: int | None
    found: int | None
    count: int
    image_ids: list[int]


@dataclass
class ConfusionMatrix:
    """Which class is taken for which.

    Detections of an object's own class have precedence, as in AP, so the diagonal holds the right detections of the operating
    point. Then the remaining detections, in the order of their scores, take the remaining object that they overlap most.

    Attributes:
        iou: Smallest IoU of a pair.
        score: Smallest score.
        cells: The cells that are not empty, by truth and found, with background last.
    """

    iou: float
    score: float
    cells: list[Confusion]


@dataclass
class ErrorShares:
    """Where AP is lost, as TIDE defines it (Bolya et al., 2020). Equal to tidecv 1.0.1.

    Attributes:
        iou: IoU of a right detection.
        background_iou: IoU up to which a detection is on background.
        ap_points: TIDE's AP at that IoU, in points from 0 to 100. It counts 100 detections per image, not per class, and a
            class with detections but without objects as 0, so it may differ from COCO's.
        lost_points: What AP would gain if the errors of a type were mended, in points: ``Cls`` (class), ``Loc`` (place),
            ``Both``, ``Dupe`` (second detection of an object), ``Bkg`` (on background), ``Miss`` (object not found).
        special_points: The same for all false positives (``FalsePos``), and for all objects that are not found (``FalseNeg``).
        counts: Number of errors of each type.
    """

    iou: float
    background_iou: float
    ap_points: float
    lost_points: dict[str, float]
    special_points: dict[str, float]
    counts: dict[str, int]


@dataclass
class Group:
    """Objects and detections that are alike, at the score of the confusion matrix.

    Attributes:
        name: Its name.
        objects: Objects in it.
        missed: Those that are not found.
        detections: Detections in it.
        wrong: Those that are wrong.
    """

    name: str
    objects: int
    missed: int
    detections: int
    wrong: int


@dataclass
class Breakdown:
    """How often objects are missed and detections wrong, by one property.

    Attributes:
        by: ``size`` (COCO's areas), ``aspect`` (width by height: ``tall`` up to 0.75, ``square`` up to 1.33, ``wide``) or
            ``crowding`` (other objects whose boxes overlap this one: ``alone``, ``1 to 2``, ``3 or more``).
        groups: The groups.
    """

    by: str
    groups: list[Group]


@dataclass
class WorstImage:
    """An image, and what its mistakes cost.

    Attributes:
        image_id: The image.
        cost_points: Sum of the costs of its mistakes, in points of AP.
        right: Right detections from the score of the confusion matrix on.
        wrong: Wrong ones.
        missed: Objects that these do not find.
    """

    image_id: int
    cost_points: float
    right: int
    wrong: int
    missed: int


@dataclass
class Mistake:
    """A single mistake: a wrong detection or a missed object, of TIDE's types.

    Attributes:
        type: ``Cls``, ``Loc``, ``Both``, ``Dupe``, ``Bkg`` or ``Miss``.
        image_id: The image.
        cost_points: What AP at ``Settings.iou`` would gain if only this mistake were mended, in points. AP is the area below
            the curve of precision and recall of a class, averaged over the classes. A missed object is mended by a detection
            with the highest score; a detection of the wrong class or place by the right one with the same score, if the
            object is not found; every other one is left out.
        detection: The wrong detection; None for ``Miss``.
        annotation: The missed object, or the one that the detection is nearest to; None for ``Bkg``.
    """

    type: str
    image_id: int
    cost_points: float
    detection: DetectionRef | None
    annotation: AnnotationRef | None


@dataclass
class Suspect:
    """What may be an error of the annotations rather than of the detector.

    Attributes:
        reason: ``unlabelled`` (a confident detection where nothing is annotated), ``unseen`` (an annotation that no detection
            overlaps) or ``class`` (a confident detection right on an annotation of another class).
        image_id: The image.
        detection: The detection; None for ``unseen``.
        annotation: The annotation; None for ``unlabelled``.
    """

    reason: str
    image_id: int
    detection: DetectionRef | None
    annotation: AnnotationRef | None
