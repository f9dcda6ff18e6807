"""scikit-learn's own callbacks, which it has from version 1.9 on."""

import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")


def test_scoring_monitor_sees_every_epoch(curve):
    def explained(estimator, X, y):
        return estimator.score(X)

    monitor = callback.ScoringMonitor(scoring={"explained": explained})
    autoencoder = Autoencoder(1, max_iter=6, early_stopping=False, random_state=0)
    autoencoder.set_callbacks(monitor).fit(curve)
    scores = [row["explained"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 6
    assert scores[-1] == pytest.approx(autoencoder.score(curve), rel=1e-9)


def test_progress_bar_nests_in_a_grid_search(curve, capsys):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Autoencoder(max_iter=2, random_state=0)),
        {"autoencoder__n_components": [1, 2]},
        cv=2,
    )
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(curve)
    assert "Autoencoder" in capsys.readouterr().out


def test_callback_may_stop_training(curve):
    class StopAtThree:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            self.torn_down = True

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 2

    stopper = StopAtThree()
    autoencoder = Autoencoder(1, max_iter=10, random_state=0).set_callbacks(stopper).fit(curve)
    assert autoencoder.n_iter_ == 3
    assert stopper.torn_down
