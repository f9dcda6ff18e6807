"""
Semi-supervised classification
==============================

An autoencoder is trained on all samples, and a classifier on its codes of the few labelled
samples. With ``unlabeled=-1``, the label -1 marks unlabelled samples.
"""

# %%
# Half of the digits are test samples. Of the other half only some keep their labels.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklearn_ae import StackedAutoencoder, StackedAutoencoderClassifier

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)


def hide(n_labels, seed):
    """Keep `n_labels` labels, the same number of each digit."""
    order = np.random.RandomState(seed).permutation(len(y))
    by_class = [order[y[order] == digit] for digit in range(10)]
    known = np.concatenate([rows[: n_labels // 10] for rows in by_class])
    few = np.full(len(y), -1)
    few[known] = y[known]
    return few


# %%
# ``fit`` takes all samples, labelled or not. It pre-trains the layers one after another without
# labels, and then fine-tunes the encoder with a softmax layer on the labelled samples.

few = hide(50, seed=0)
classifier = StackedAutoencoderClassifier(
    hidden_layer_sizes=(128, 128), activation="logistic", unlabeled=-1, random_state=0
)
classifier.fit(X, few)
print(f"{np.sum(few != -1)} labels: accuracy {classifier.score(X_test, y_test):.3f}")

# %%
# To measure the effect of pre-training, the layers are pre-trained once and wrapped in
# scikit-learn's ``FrozenEstimator``; each classifier then fine-tunes a copy.
# With ``pretraining=None`` the same network starts at random weights.

stack = StackedAutoencoder(
    128,
    hidden_layer_sizes=(128,),
    activation="logistic",
    code_activation="logistic",
    fine_tune=False,
    random_state=0,
).fit(X)

models = {
    "pre-trained on all samples": StackedAutoencoderClassifier(
        autoencoder=FrozenEstimator(stack), unlabeled=-1, random_state=0
    ),
    "the same network, random weights": StackedAutoencoderClassifier(
        hidden_layer_sizes=(128, 128),
        activation="logistic",
        pretraining=None,
        unlabeled=-1,
        random_state=0,
    ),
    "support vector machine": SVC(),
}
sizes, seeds = [20, 50, 100, 200], range(3)
curves = {name: np.zeros((len(sizes), len(seeds))) for name in models}
for i, n_labels in enumerate(sizes):
    for j, seed in enumerate(seeds):
        few = hide(n_labels, seed)
        for name, model in models.items():
            known = few != -1 if isinstance(model, SVC) else slice(None)
            model.fit(X[known], few[known])
            curves[name][i, j] = model.score(X_test, y_test)

# %%
# The fewer the labels, the more unlabelled samples improve the accuracy.

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), style in zip(curves.items(), ["o-", "s--", "^:"], strict=True):
    ax.errorbar(sizes, values.mean(1), values.std(1), fmt=style, capsize=3, label=name)
ax.set(xscale="log", xlabel="labelled digits", ylabel="accuracy on the other half")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend()
plt.show()
