"""Train the members of an outlier detector in pairs, and combine their scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from sklearn_ae._detection.error_statistics import lower_threshold
from sklearn_ae._detection.halves import draw_some, draw_split, second_half
from sklearn_ae._detection.member_copies import Template
from sklearn_ae._detection.members import Member, TrainingSamples, train_member
from sklearn_ae._estimator.tasks import Tasks
from sklearn_ae._training.ranks import Ranks


def train_members(
    templates: list[Template],
    training: TrainingSamples,
    max_samples: int,
    random_state: np.random.RandomState,
    tasks: Tasks,
) -> tuple[list[Member], np.ndarray]:
    """Train all members: the first pair, then all others together.

    Parameters
    ----------
    templates : list of Template
        Two for each pair.
    training : TrainingSamples
    max_samples : int
        Maximum number of distinct samples that a member is trained on.
    random_state : RandomState
    tasks : Tasks
        Reports the fit of each member to callbacks, which may end training after a pair.

    Returns
    -------
    members : list of Member
    scores : ndarray of shape (n_samples,)
        Mean score of each sample by the members that hold it out.
    """
    # All copies of a sample are in training or none: a held-out copy would not be new.
    distinct, first, copies_of = np.unique(training.keys, return_index=True, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError(
            "the samples of X are all equal in float32, or there is 1 sample; at least two "
            "distinct samples are needed, since samples are held out."
        )
    members: list[Member] = []
    scores = np.zeros((len(templates), len(copies_of)))
    new = np.zeros(scores.shape, dtype=bool)
    normal = np.ones(len(copies_of), dtype=bool)
    # The first pair finds the samples that all others leave out, which are trained together.
    for numbers in (range(2), range(2, len(templates))):
        trainings: list[Callable[[], tuple[Member, np.ndarray]]] = []
        outside = []
        for number in numbers:
            second = number % 2 == 1
            if not second:  # both members of a pair use one split
                split = draw_split(distinct, random_state)
                half = second_half(training.keys, split)
            eligible = half[first] == second  # of the distinct samples
            clean = eligible & normal[first]
            places = np.flatnonzero(clean if clean.any() else eligible)
            chosen = places[draw_some(distinct[places], max_samples, random_state)]
            inside = np.isin(copies_of, chosen)
            new[number] = half != second
            outside.append(~inside)
            train = partial(
                train_member,
                templates[number].estimator,
                training,
                inside,
                random_state.randint(2**31 - 1),
                joint=templates[number].joint,
                split=split,
                second=second,
                fitting=tasks.around,
            )
            trainings.append(train)
        for number, rest, (member, own) in zip(
            numbers, outside, _results(trainings, tasks), strict=False
        ):
            members.append(member)
            scores[number, rest] = own
        if tasks.stop or len(members) == len(templates):
            break
        so_far = average_over_pairs(scores[:2], new[:2])
        normal = so_far >= lower_threshold(so_far, training.weight, training.trim)
    return members, average_over_pairs(scores[: len(members)], new[: len(members)])


def _results(trainings: list[Callable[[], Any]], tasks: Tasks) -> list[Any]:
    """Call functions that train members, together unless callbacks follow their order.

    Of several processes each trains a part of the members, and receives the others.
    """
    if tasks.context is None:
        # Imported when used: it imports skorch, which doubles the time of an import.
        from sklearn_ae._training.gathering import Gathering

        ranks = Ranks.current()
        own = trainings if ranks is None else trainings[ranks.rank :: ranks.size]
        trained = Gathering.of_tasks(len(own)).map(own)
        if ranks is None:
            return trained
        parts = ranks.of_all(trained)
        return [parts[k % ranks.size][k // ranks.size] for k in range(len(trainings))]
    results = []
    for number, train in enumerate(trainings):
        results.append(train())
        if tasks.stop and number % 2:  # the first member of a pair scores one half only
            break
    return results


def average_over_pairs(scores: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Average the score of each sample over the members to which it is new.

    This is one member of each pair; of an unfinished pair it may be none.

    Parameters
    ----------
    scores : ndarray of shape (n_members, n_samples)
        Arbitrary for samples that are not new.
    new : ndarray of shape (n_members, n_samples), dtype bool

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    mean: np.ndarray = np.where(new, scores, 0.0).sum(axis=0) / new.sum(axis=0)
    return mean
