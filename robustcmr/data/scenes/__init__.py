"""The embedded data set ``scenes``: drawn pictures, with captions whose truth can be checked."""

from robustcmr.data.scenes.dataset import Scenes

__all__ = ["Scenes"]
