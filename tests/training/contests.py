"""Contests of networks, of which nothing is trained."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from draws import dataset, normal

from surrogates.training.config import TrainConfig
from surrogates.training.selection.contest import Contest, trained
from surrogates.training.selection.effort import Effort
from surrogates.training.selection.folds import divided
from surrogates.training.selection.squares import Squares

BASE = TrainConfig()
NOTHING = frozenset()


def effort(seconds=1e9, candidates=5, finalists=2):
    return Effort(seconds=seconds, candidates=candidates, finalists=finalists)


def never(tasks):
    raise AssertionError("nothing is to be trained")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(Squares):
    """Tries no variants, and solves for no W anew."""

    variants: tuple = ()
    alphas: tuple = ()


def contest(n=100, n_in=3, n_out=2, run=never, n_folds=5, told=None, judge=Plain):
    Y = normal(n, n_in, seed=0).numpy()
    data = dataset(Y, np.sin(Y @ normal(n_in, n_out, seed=1).numpy()), "1/0/0")
    return Contest(
        dataset=data,
        folds=divided(np.arange(n), n_folds, 0),
        judge=judge(scale=torch.ones(n_out).double(), n_seen=n_out),
        run=run,
        on_progress=lambda *arguments: None if told is None else told.append(arguments),
    )


class Fake:
    """Trainings whose errors are told: alpha1 is the error, on every fold."""

    def __init__(self):
        self.calls = []

    def __call__(self, tasks):
        for number, task in reversed(list(enumerate(tasks))):
            settings, fold = task.arguments["settings"], task.arguments["fold"]
            assert task.function is trained
            self.calls.append((settings, fold))
            yield (
                number,
                SimpleNamespace(
                    predict=self.predictor(task.arguments["dataset"], settings), used=None
                ),
            )

    def predictor(self, data, settings):
        def predict(Y):
            rows = [int(np.flatnonzero((data.Y == y).all(axis=1))[0]) for y in Y.numpy()]
            return torch.from_numpy(data.C[rows]) + settings.regularisation.alpha1

        return predict


def names(winners):
    return [winner.name for winner in winners]
