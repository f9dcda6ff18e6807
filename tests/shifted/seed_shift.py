"""Shift all seeds of data and of fits by SKLEARN_AE_SEED_SHIFT: other draws, same claims."""

import importlib.util
import os
import sys


def _shift_data(module, shift):
    default_rng = module.default_rng

    def shifted_rng(seed=None):
        return default_rng(seed + shift if isinstance(seed, int) else seed)

    module.default_rng = shifted_rng


def _shift_fits(module, shift):
    draw_seeds = module.draw_seeds

    def shifted_seeds(random_state):
        is_seed = isinstance(random_state, int)
        return draw_seeds(random_state + shift if is_seed else random_state)

    for loaded in list(sys.modules.values()):
        if getattr(loaded, "draw_seeds", None) is draw_seeds:
            loaded.draw_seeds = shifted_seeds


PATCHES = {"numpy.random": _shift_data, "sklearn_ae._training.random": _shift_fits}


class _Shifting:
    """Patches the modules that draw when they are imported, before others import from them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        patch = PATCHES.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)  # by the other finders: this name is popped
        run = spec.loader.exec_module

        def run_and_patch(module):
            run(module)
            patch(module, shift())

        spec.loader.exec_module = run_and_patch
        return spec


def shift():
    """What is added to each seed."""
    return int(os.environ.get("SKLEARN_AE_SEED_SHIFT", 0))


def _install():
    """Shift the seeds in this process and, since it is found on their path, in those it starts."""
    if not shift() or _Shifting in sys.meta_path:
        return
    sys.meta_path.insert(0, _Shifting)
    for name in [name for name in PATCHES if name in sys.modules]:
        PATCHES.pop(name)(sys.modules[name], shift())
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folder = os.path.dirname(__file__)
    if folder not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, paths)])


_install()
