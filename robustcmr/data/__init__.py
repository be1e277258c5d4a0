"""Data sets a run trains on, vocabularies, features on disk, and the data check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.data.base import DataSet, FeatureStore, LabelledData, LabelledSplit, PairsData, PairsSplit
    from robustcmr.data.cc152k import CC152K
    from robustcmr.data.check import check_data, check_labelled, open_folder
    from robustcmr.data.images import Images
    from robustcmr.data.labelled import InriaWebsearch, Labelled, NusWide, Wikipedia, XMediaNet
    from robustcmr.data.precomp import Coco, Flickr8K, Flickr30K, Precomputed
    from robustcmr.data.scenes.dataset import Scenes
    from robustcmr.data.scenes_labels import ScenesLabels
    from robustcmr.data.store import NpyFeatures
    from robustcmr.data.vocabulary import Vocabulary

__all__ = [
    "CC152K",
    "Coco",
    "DataSet",
    "FeatureStore",
    "Flickr8K",
    "Flickr30K",
    "Images",
    "InriaWebsearch",
    "Labelled",
    "LabelledData",
    "LabelledSplit",
    "NpyFeatures",
    "NusWide",
    "PairsData",
    "PairsSplit",
    "Precomputed",
    "Scenes",
    "ScenesLabels",
    "Vocabulary",
    "Wikipedia",
    "XMediaNet",
    "check_data",
    "check_labelled",
    "open_folder",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(
            ("DataSet", "FeatureStore", "LabelledData", "LabelledSplit", "PairsData", "PairsSplit"), "base"
        ),
        "CC152K": "cc152k",
        **dict.fromkeys(("check_data", "check_labelled", "open_folder"), "check"),
        "Images": "images",
        **dict.fromkeys(("InriaWebsearch", "Labelled", "NusWide", "Wikipedia", "XMediaNet"), "labelled"),
        **dict.fromkeys(("Coco", "Flickr30K", "Flickr8K", "Precomputed"), "precomp"),
        "Scenes": "scenes.dataset",
        "ScenesLabels": "scenes_labels",
        "NpyFeatures": "store",
        "Vocabulary": "vocabulary",
    },
)
