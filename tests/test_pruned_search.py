"""The example of a search whose bad trials end early."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sklearn_ae import Autoencoder

optuna = pytest.importorskip("optuna")

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "pruned_search.py"


@pytest.fixture(scope="module")
def example():
    level = optuna.logging.get_verbosity()
    yield runpy.run_path(str(EXAMPLE))
    optuna.logging.set_verbosity(level)


def test_trials_are_pruned_and_report_the_held_out_scores(example):
    trials, n_epochs = example["study"].trials, example["N_EPOCHS"]
    pruned = [trial for trial in trials if trial.state == optuna.trial.TrialState.PRUNED]
    complete = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(pruned) > 0
    assert len(complete) + len(pruned) == len(trials)
    n_reported = [len(trial.intermediate_values) for trial in pruned]
    assert min(n_reported) >= 5
    assert min(n_reported) < n_epochs
    for trial in complete:
        assert trial.value == max(trial.intermediate_values.values())
    assert np.mean([trial.value for trial in pruned]) < np.mean([t.value for t in complete])


def test_a_pruned_fit_leaves_its_estimator_unfitted(example, curve):
    class Bad:
        """A trial that is pruned at its second epoch."""

        def report(self, value, step):
            self.reported = step, value

        def should_prune(self):
            return self.reported[0] == 2

    callback = example["Pruning"](Bad())
    model = Autoencoder(1, max_iter=5, random_state=0, callbacks=[callback])
    with pytest.raises(optuna.TrialPruned):
        model.fit(curve)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    alone = clone(model).set_params(callbacks=None, max_iter=5).fit(curve)
    assert callback.trial.reported == (2, alone.validation_scores_[1])
