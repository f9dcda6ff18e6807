"""Plots of fitted autoencoders, with the interface of scikit-learn's Displays.

matplotlib is imported only when something is drawn.
"""

from sklearn_ae.plotting.latent_space import LatentSpaceDisplay
from sklearn_ae.plotting.latent_traversal import LatentTraversalDisplay
from sklearn_ae.plotting.loss_curve import LossCurveDisplay
from sklearn_ae.plotting.reconstruction import ReconstructionDisplay
from sklearn_ae.plotting.score_field import ScoreFieldDisplay
from sklearn_ae.plotting.scree import ScreeDisplay

__all__ = [
    "LatentSpaceDisplay",
    "LatentTraversalDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "ScoreFieldDisplay",
    "ScreeDisplay",
]
