"""What a comparison of reports holds, as typed entries."""

from __future__ import annotations

from dataclasses import dataclass

from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef, ImageRef

__all__ = ["Comparison", "Difference", "KindComparison", "ObjectChange"]


@dataclass
class Difference:
    """A figure of two runs on the same images, and whether its difference is more than chance.

    Attributes:
        category_id: The class; None for the mean of the classes.
        name: Its name; ``all`` for the mean.
        figure: ``AP`` or ``AP50``.
        before: The figure of the first run.
        after: That of the second.
        difference: ``after - before``.
        low: Lower end of the interval that holds the difference in 95 % of the samples of images (percentile bootstrap).
        high: Its upper end.
        verdict: ``better`` or ``worse`` if the interval is on one side of 0, else ``noise``; ``too few`` if fewer than 5
            images have objects of the class: there is no interval then, because it would mean nothing.
    """

    category_id: int | None
    name: str
    figure: str
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass
class ObjectChange:
    """An object that one run finds and the other one does not, each from its own best threshold on.

    Attributes:
        image_id: The image.
        annotation: The object.
        detection: The detection of the run that finds it.
    """

    image_id: int
    annotation: AnnotationRef
    detection: DetectionRef


@dataclass
class KindComparison:
    """The comparison of boxes, or of masks.

    Attributes:
        overall: Differences of the means of the classes, in ``AP`` and ``AP50``.
        classes: Differences of each class, in ``AP`` and ``AP50``; classes without objects are left out.
        gained_count: Number of objects that only the second run finds.
        lost_count: Number of objects that only the first one finds.
        gained: Some of the gained ones, those with the highest scores first.
        lost: Some of the lost ones, in the same order.
    """

    overall: list[Difference]
    classes: list[Difference]
    gained_count: int
    lost_count: int
    gained: list[ObjectChange]
    lost: list[ObjectChange]


@dataclass
class Comparison:
    """Two reports side by side.

    Attributes:
        before: Title of the first one.
        after: Title of the second one.
        images: Number of images.
        resamples: How often the images were drawn anew.
        seed: The seed of these draws.
        kinds: The comparison of each kind that both reports have.
        named: The images that it names, with empty file names if neither report describes them.
    """

    before: str
    after: str
    images: int
    resamples: int
    seed: int
    kinds: dict[str, KindComparison]
    named: list[ImageRef]
