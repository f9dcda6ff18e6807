"""
Trees of a recursive autoencoder
================================

A recursive autoencoder merges neighbours until one vector is left. With ``tree="greedy"`` it chooses
the order of the merges for each sequence, such that each pair can be split again with a small error:
steps of one segment are merged before segments are.
"""

# %%
# Sequences of segments
# ---------------------
# A sequence has twelve steps in segments of different lengths, each at one of four places in the plane.
# The autoencoder is not told where the segments begin.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ae import RecursiveAutoencoder

N_STEPS = 12
rng = np.random.default_rng(0)
places = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])


def draw():
    """Draw a sequence and the segment of each of its steps."""
    borders = rng.choice(np.arange(2, N_STEPS - 1), 3, replace=False)
    segments = np.isin(np.arange(N_STEPS), borders).cumsum()
    order = rng.permutation(4)
    return places[order][segments] + 0.1 * rng.standard_normal((N_STEPS, 2)), segments


X, segments = (np.array(part) for part in zip(*[draw() for _ in range(300)], strict=True))
autoencoder = RecursiveAutoencoder(
    8, tree="greedy", hidden_size=16, max_iter=15, learning_rate_init=0.01, random_state=0
).fit(X)

# %%
# Trees
# -----
# The columns of the code after the components are the merges: the position of each merged pair among
# the vectors that are left.

merges = autoencoder.transform(X)[:, 8:].astype(int)


def within(merge, labels):
    """Return which merges join steps of one segment."""
    parts = [{label} for label in labels]
    joined = []
    for position in merge:
        parts[position] |= parts.pop(position + 1)
        joined.append(len(parts[position]) == 1)
    return joined


# %%
# A sequence of :math:`k` segments has at most :math:`12 - k` merges within a segment. In a random order
# of merges fewer of these are made.

possible = N_STEPS - 1 - segments.max(axis=1).sum() / len(X)
found = np.mean([sum(within(*pair)) for pair in zip(merges, segments, strict=True)])
at_random = np.array([[rng.integers(n) for n in range(N_STEPS - 1, 0, -1)] for _ in X])
chance = np.mean([sum(within(*pair)) for pair in zip(at_random, segments, strict=True)])
print(f"merges within a segment: {found:.1f} of {possible:.1f}, in a random order {chance:.1f}")

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
for ax, merge, labels in zip(axes, merges, segments, strict=False):
    nodes = [(float(step), 0) for step in range(N_STEPS)]
    for height, (position, is_within) in enumerate(zip(merge, within(merge, labels), strict=True), 1):
        (x, low), (other, under) = nodes[position], nodes.pop(position + 1)
        ax.plot([x, x, other, other], [low, height, height, under], color="C0" if is_within else "0.7")
        nodes[position] = ((x + other) / 2, height)
    ax.scatter(range(N_STEPS), np.full(N_STEPS, -0.6), 120, plt.cm.tab10(labels + 1), marker="s")
    ax.set(xlabel="step, coloured by its segment", xticks=range(0, N_STEPS, 2))
axes[0].set_ylabel("number of the merge")
plt.show()
