"""
Few labels
==========

``StackedAutoencoderClassifier`` learns from all samples what digits look like, and from the few
labelled ones which digit is which: the label -1 marks the others. It is compared with a support
vector machine of the labelled samples, and with label spreading, which also uses all samples.
"""

# %%
# Half of the digits are test samples. Of the other half only some keep their labels. Each size
# is repeated with three choices of the labelled digits.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from sklearn_ae import StackedAutoencoderClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)


def hide(n_labels, seed):
    """Keep `n_labels` labels, the same number of each digit; the others become -1."""
    order = np.random.default_rng(seed).permutation(len(y_train))
    kept = [order[y_train[order] == digit][: n_labels // 10] for digit in range(10)]
    labels = np.full(len(y_train), -1)
    labels[np.concatenate(kept)] = y_train[np.concatenate(kept)]
    return labels


models = {
    "StackedAutoencoderClassifier": StackedAutoencoderClassifier(unlabeled=-1, random_state=0),
    "label spreading": LabelSpreading(kernel="knn"),
    "support vector machine, labelled samples only": SVC(C=10),
}
sizes, seeds = [20, 50, 100, 200], range(3)
accuracy = {name: np.zeros((len(sizes), len(seeds))) for name in models}
for i, n_labels in enumerate(sizes):
    for seed in seeds:
        labels = hide(n_labels, seed)
        for name, model in models.items():
            used = labels != -1 if isinstance(model, SVC) else slice(None)
            model.fit(X_train[used], labels[used])
            accuracy[name][i, seed] = model.score(X_test, y_test)

# %%
# The number of neighbours of label spreading is its default; that and ``C=10`` are usual values
# for digits. The classifier propagates labels among neighbours as well, trains its network on
# them, and keeps its predictions from changing near a sample. With few labels both are far ahead
# of the support vector machine; with 200 both rivals are better. Neighbours among the pixels of
# images as small as these mostly show the same digit, which favours label spreading: try it first
# where distances mean as much.

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
print(f"{'labels':46}" + "".join(f"{size:>6}" for size in sizes))
for (name, values), style in zip(accuracy.items(), ["o-", "s--", "^:"], strict=True):
    print(f"{name:46}" + "".join(f"{value:6.3f}" for value in values.mean(axis=1)))
    ax.errorbar(sizes, values.mean(1), values.std(1), fmt=style, capsize=3, label=name)
ax.set(xscale="log", xlabel="labelled digits", ylabel="accuracy on test samples")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend(loc="lower right")
plt.show()
