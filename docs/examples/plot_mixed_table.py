"""
A mixed table
=============

A variational autoencoder learns the joint distribution of a table of numbers and categories,
here of 442 patients with diabetes, as a data frame. ``sample`` draws patients that do not
exist, with the columns and dtypes of the table; with ``conditions`` patients of whom something
is known.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_diabetes

from sklearn_ae import VariationalAutoencoder

data = load_diabetes(as_frame=True, scaled=False)
patients = data.data[["age", "sex", "bmi", "bp"]].rename(columns={"bp": "pressure"})
patients["sex"] = patients["sex"].map({1: "female", 2: "male"})
patients["progress"] = pd.qcut(data.target, 3, labels=["slow", "medium", "fast"])
print(patients.dtypes)

model = VariationalAutoencoder(4, variance="per_feature", max_iter=600, random_state=0)
print(model.fit(patients).sample(3, random_state=0))

# %%
# Patients whose disease progresses fast have a higher body mass index and blood pressure: in
# the table, and among as many that are drawn given their progress.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharex=True, sharey=True, layout="constrained")
for progress, colour in (("slow", "C0"), ("fast", "C3")):
    real = patients[patients["progress"] == progress]
    drawn = model.sample(len(real), random_state=0, conditions={"progress": progress})
    for ax, table in zip(axes, (real, drawn), strict=True):
        ax.scatter(table["bmi"], table["pressure"], 12, colour, label=progress, alpha=0.6)
        means = table[["bmi", "pressure"]].mean()
        ax.scatter(*means, 120, colour, marker="X", edgecolor="white")
for ax, title in zip(axes, ("patients", "drawn given their progress"), strict=True):
    ax.set(title=title, xlabel="body mass index")
axes[0].set_ylabel("blood pressure")
axes[0].legend(title="progress")
plt.show()
