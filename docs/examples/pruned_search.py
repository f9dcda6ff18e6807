"""
A pruned search with Optuna
===========================

Most candidates of a search can be recognised as bad after a few epochs. A callback reports the
held-out score after each epoch to Optuna, which ends the trials that are worse than the median
of the earlier ones. The script needs Optuna (``pip install optuna``); the page is built without
it.
"""

# %%
# The held-out samples are those with certain hashes, so they are the same in all trials.

import optuna
from sklearn.datasets import load_digits
from skorch.callbacks import Callback

from sklearn_ae import Autoencoder

X = load_digits().data
N_EPOCHS = 30


class Pruning(Callback):
    def __init__(self, trial):
        self.trial = trial

    def on_epoch_end(self, net, **kwargs):
        self.trial.report(net.history[-1]["valid_score"], len(net.history))
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial):
    model = Autoencoder(
        8,
        hidden_layer_sizes=(trial.suggest_categorical("width", [32, 64, 128]),),
        activation=trial.suggest_categorical("activation", ["relu", "silu", "tanh"]),
        learning_rate_init=trial.suggest_float("learning_rate_init", 1e-4, 1e-1, log=True),
        max_iter=N_EPOCHS,
        callbacks=[Pruning(trial)],
        random_state=0,
    )
    return max(model.fit(X).validation_scores_)


# %%
# No trial is pruned before its fifth epoch, and the first five trials never are.

optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
)
study.optimize(objective, n_trials=25)

n_epochs = sum(len(trial.intermediate_values) for trial in study.trials)
print(f"{n_epochs} epochs instead of {N_EPOCHS * len(study.trials)}")
print(f"explained variance ratio {study.best_value:.3f} with {study.best_params}")
