"""Data sets a run trains on, vocabularies, features on disk, and the data check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustcmr.lazy import attach

if TYPE_CHECKING:
    from robustcmr.data.base import (
        DataSet as DataSet,
        FeatureStore as FeatureStore,
        LabelledData as LabelledData,
        LabelledSplit as LabelledSplit,
        PairsData as PairsData,
        PairsSplit as PairsSplit,
    )
    from robustcmr.data.cc152k import CC152K as CC152K
    from robustcmr.data.check import (
        check_data as check_data,
        check_labelled as check_labelled,
        open_folder as open_folder,
    )
    from robustcmr.data.images import Images as Images
    from robustcmr.data.labelled import (
        InriaWebsearch as InriaWebsearch,
        Labelled as Labelled,
        NusWide as NusWide,
        Wikipedia as Wikipedia,
        XMediaNet as XMediaNet,
    )
    from robustcmr.data.precomp import (
        Coco as Coco,
        Flickr8K as Flickr8K,
        Flickr30K as Flickr30K,
        Precomputed as Precomputed,
    )
    from robustcmr.data.scenes.dataset import Scenes as Scenes
    from robustcmr.data.scenes_labels import ScenesLabels as ScenesLabels
    from robustcmr.data.source import SourcePairs as SourcePairs
    from robustcmr.data.store import NpyFeatures as NpyFeatures
    from robustcmr.data.vocabulary import Vocabulary as Vocabulary

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "base": "DataSet FeatureStore LabelledData LabelledSplit PairsData PairsSplit",
        "cc152k": "CC152K",
        "check": "check_data check_labelled open_folder",
        "images": "Images",
        "labelled": "InriaWebsearch Labelled NusWide Wikipedia XMediaNet",
        "precomp": "Coco Flickr8K Flickr30K Precomputed",
        "scenes.dataset": "Scenes",
        "scenes_labels": "ScenesLabels",
        "source": "SourcePairs",
        "store": "NpyFeatures",
        "vocabulary": "Vocabulary",
    },
)
