"""The part of a surrogate file that a training can start from, and its check against a dataset.

A surrogate file computes with fused constants, not with its networks' parameters. Its extra file
``weights.npz`` holds, for each member, the kind and settings of the features, their parameters, the
scaling of the inputs, W and the member's weight, or its weights for each output, all in double
precision; also the error of the prediction on held-out samples, and checksums of the members'
training samples. Calls of the surrogate do not read it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from surrogates.config import check, replaced
from surrogates.data import Dataset, Status
from surrogates.files import members as in_file
from surrogates.files import reading
from surrogates.model import file as export
from surrogates.model.loaded import LoadedSurrogate
from surrogates.model.networks import FeatureExtractor
from surrogates.model.parts import Logs
from surrogates.model.radial import AnovaBasis, Joined, Monomials, RadialBasis

from .config import Network, TrainConfig
from .initial import described, settings_of
from .member import Member

Checksums = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

PAIRS = 4
"""Least number of samples of two fidelities at the same y, to learn their difference from."""

_IN_FILE = {"network": "kind"}
"""Settings of `config.Network` by their names in the file, if these differ."""

_LEAST, _PACKED = 2**26, 100  # limit of unpacked bytes: a base, and a factor of packed bytes


@dataclass(frozen=True, kw_only=True)
class Start:
    """A surrogate that a training starts from.

    Attributes:
        surrogate: The loaded surrogate.
        members: Members, whose weighted mean it predicts.
        seen: Checksums of their training samples, see `checksums`.
        error: Root mean square of its error on held-out samples, (n_out,), units of c, or of the
            logarithms that it learned.
        digest: Checksum of all of these.
        coarse: Samples of the surrogate's own fidelity, some at the y of those of the training.
    """

    surrogate: LoadedSurrogate
    members: tuple[Member, ...]
    seen: Checksums
    error: Tensor
    digest: str
    coarse: Dataset | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, trust: bool = False) -> Start:
        """Read a surrogate file; for ``trust`` see `surrogates.load`.

        Raises:
            InputError: If it is damaged, or holds no weights.
        """
        return cls.of(export.load(path, trust=trust))

    @classmethod
    def of(cls, surrogate: LoadedSurrogate) -> Start:
        """Take the weights that a surrogate's file holds.

        Raises:
            InputError: If it holds none.
        """
        path, content = surrogate.path, export.weights_in(surrogate.members)
        check(
            bool(content),
            f"{path} has no weights to start from: it was written by an older release, has a "
            "network of the user's own, or is a classifier that was chosen; train it again, a "
            "classifier with --effort fast",
        )
        file = io.BytesIO(content)
        with reading(path, "surrogate file", file), np.load(file, allow_pickle=False) as arrays:
            in_file(path, arrays.zip, _LEAST + _PACKED * len(content))
            about = json.loads(str(arrays["about"]))
            members = []
            for entry in about["members"]:
                y_shift, y_scale, W = (
                    torch.from_numpy(arrays[entry[name]]) for name in ("y_shift", "y_scale", "W")
                )
                members.append(
                    Member(
                        features=_unpacked(entry["features"], arrays),
                        y_shift=y_shift,
                        y_scale=y_scale,
                        W=W,
                        **_weighing(entry["weight"], arrays),
                        group=entry["group"],
                    )
                )
            check(
                len(members) > 0 and all(_fits(member, surrogate) for member in members),
                f"{path} is damaged: its weights are of another surrogate",
            )
            return cls(
                surrogate=surrogate,
                members=tuple(members),
                seen=arrays["seen"],
                error=torch.from_numpy(arrays["error"]),
                digest=hashlib.sha256(content).hexdigest(),
            )

    def check(self, dataset: Dataset, logs: Logs | None) -> None:
        """Refuse a dataset that is not of the surrogate's inputs and outputs.

        Raises:
            InputError: If tasks, sizes, names or logarithms differ.
        """
        path, info = self.surrogate.path, dataset.info
        self.surrogate.check_matches(info)
        for key, what in (("y_names", "input"), ("c_names", "output")):
            pairs = zip(self.surrogate.metadata[key], getattr(info, key), strict=True)
            for there, here in pairs:
                check(
                    there == here, f"{path} has the {what} {there!r} where the dataset has {here!r}"
                )
        own = getattr(self.surrogate.module, "logs", None)
        for side, names, option in (
            ("inputs", info.y_names, "--log-inputs"),
            ("outputs", info.c_names, "--log"),
        ):
            there, here = (
                [] if marks is None else [bool(mark) for mark in getattr(marks, side)]
                for marks in (own, logs)
            )
            marked = [name for name, mark in zip(names, there, strict=False) if mark]
            check(
                there == here or not any((*there, *here)),
                f"{path} has learned the logarithms of {', '.join(marked) or 'no'} {side}: "
                + (f"give {option} {','.join(marked)}" if marked else f"leave {option} out"),
            )

    def beside(self, coarse: Dataset) -> Start:
        """Return the start with samples of its own fidelity, which tell differences exactly.

        Raises:
            InputError: If they are not of the surrogate's inputs and outputs.
        """
        self.check(coarse, getattr(self.surrogate.module, "logs", None))
        digest = hashlib.sha256(f"{self.digest} {coarse.digest}".encode()).hexdigest()
        return dataclasses.replace(self, coarse=coarse, digest=digest)

    def pairs(self, dataset: Dataset) -> npt.NDArray[np.int64]:
        """Return the row of `coarse` with the y of each sample, -1 where there is none, (n,).

        Only rows that are solved, with all outputs, count.
        """
        found = np.full(len(dataset.Y), -1)
        if self.coarse is None:
            return found
        done = np.flatnonzero(
            (self.coarse.status == Status.DONE) & np.isfinite(self.coarse.C).all(axis=1)
        )
        rows = dict(zip(checksums(self.coarse, done)[:, 0].tolist(), done.tolist(), strict=True))
        own = checksums(dataset, range(len(dataset.Y)))[:, 0].tolist()
        return np.array([rows.get(y, -1) for y in own], dtype=np.int64)

    def check_pairs(self, dataset: Dataset) -> None:
        """Refuse coarse samples of which too few are at the y of solved samples of a dataset.

        Raises:
            InputError: If there are less than `PAIRS`.
        """
        if self.coarse is None:
            return
        n = int(((self.pairs(dataset) >= 0) & (dataset.status == Status.DONE)).sum())
        check(
            n >= PAIRS,
            f"{n} of the {len(dataset.Y)} samples have parameters that are among the coarse "
            f"samples, at least {PAIRS} are needed: take the same --seed for both fidelities, or "
            "solve at the points of one with generate --points",
        )

    def networks(self) -> tuple[Member, ...]:
        """Return the networks of the group with the largest weight; empty without networks."""
        groups: dict[int, list[Member]] = {}
        for member in self.members:
            if settings_of(member.features):
                groups.setdefault(member.group, []).append(member)
        if not groups:
            return ()
        return tuple(max(groups.values(), key=lambda group: sum(one.weight for one in group)))

    def network(self, settings: TrainConfig, given: frozenset[str]) -> tuple[Member, TrainConfig]:
        """Return the network to start one training from, and settings that describe it.

        Raises:
            InputError: If there is none, or the given settings describe another.
        """
        networks = self.networks()
        check(
            len(networks) > 0,
            f"{self.surrogate.path} has no network that one training could start from (it is "
            f"{self.surrogate.metadata['training'].get('chosen', 'of another kind')}): "
            "leave --effort fast out",
        )
        own = settings_of(networks[0].features)
        for key in sorted(given & own.keys()):
            asked = attrgetter(key)(settings)
            check(
                asked == own[key],
                f"the network of {self.surrogate.path} has {key} {own[key]}; got {asked}: leave "
                f"{key} out",
            )
        return networks[0], replaced(settings, own)

    def whole(self) -> Member:
        """Return all members as one."""
        first = self.members[0]
        if len(self.members) == 1:
            return first
        W = [member.share for member in self.members]
        bias = torch.stack([M[:, -1] for M in W]).sum(dim=0)
        zeros = torch.zeros_like(first.y_shift)
        return Member(
            features=Joined(
                [member.features for member in self.members],
                torch.stack([member.y_shift for member in self.members]),
                torch.stack([member.y_scale for member in self.members]),
            ),
            y_shift=zeros,
            y_scale=zeros + 1,
            W=torch.cat([*(M[:, :-1] for M in W), bias[:, None]], dim=1),
        )

    def overlap(self, dataset: Dataset) -> tuple[Mask, Mask]:
        """Return masks of its training samples, and of samples whose y it saw with another c."""
        own = checksums(dataset, range(len(dataset.Y)))
        known = np.isin(own[:, 1], self.seen[:, 1])
        return known, np.isin(own[:, 0], self.seen[:, 0]) & ~known


def _fits(member: Member, surrogate: LoadedSurrogate) -> bool:
    """Return whether a member's parts have the sizes and types that a training needs."""
    shapes: dict[str, tuple[int, ...]] = {
        "y_shift": (surrogate.n_in,),
        "y_scale": (surrogate.n_in,),
        "W": (surrogate.n_out, member.features.width + 1),
    }
    if member.weights is not None:
        shapes["weights"] = (surrogate.n_out,)
    parts = {name: getattr(member, name) for name in shapes}
    return (
        all(tuple(part.shape) == shapes[name] for name, part in parts.items())
        and all(part.dtype == torch.float64 for part in parts.values())
        and all(bool(part.isfinite().all()) for part in parts.values())
        and type(member.weight) in (int, float)
        and math.isfinite(member.weight)
        and type(member.group) is int
    )


def packed(
    members: Sequence[Member], seen: Checksums, error: Tensor, before: Start | None = None
) -> bytes:
    """Return the bytes that `Start.read` reads; empty if the features are of an unknown kind.

    Args:
        members: Members of the surrogate.
        seen: Checksums of their training samples.
        error: See `Start`.
        before: The surrogate that the training started from, whose samples count too.
    """
    if not all(_is_known(member.features) for member in members):
        return b""
    if before is not None:
        seen = np.concatenate([before.seen, seen])
    arrays: dict[str, npt.NDArray[Any]] = {"seen": np.unique(seen, axis=0), "error": error.numpy()}

    def kept(value: Tensor) -> str:
        name = str(len(arrays))
        arrays[name] = value.detach().cpu().numpy()
        return name

    def features_of(features: object) -> dict[str, Any]:
        if isinstance(features, RadialBasis | AnovaBasis):
            names = ("centres", "scales", "shares")[: 2 + isinstance(features, AnovaBasis)]
            own = {name: kept(getattr(features, name)) for name in names}
            return {"kernel": features.kernel, **own}
        if isinstance(features, Monomials):
            return {"n_in": features.n_in, "pairs": kept(features.pairs)}
        if isinstance(features, Joined):
            parts = [features_of(part) for part in features.parts]
            return {
                "parts": parts,
                "shifts": kept(features.shifts),
                "scales": kept(features.scales),
            }
        theta = parameters_to_vector(cast(nn.Module, features).parameters()).double()
        n_in = cast(FeatureExtractor, features).n_in
        return {"settings": _named_in_file(features), "n_in": n_in, "theta": kept(theta)}

    entries = [
        {
            "features": features_of(member.features),
            **{name: kept(getattr(member, name)) for name in ("y_shift", "y_scale", "W")},
            "weight": member.weight if member.weights is None else kept(member.weights),
            "group": member.group,
        }
        for member in members
    ]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps({"members": entries})), **arrays)
    return buffer.getvalue()


def _is_known(features: object) -> bool:
    """Return whether features can be kept; the caller's module cannot."""
    if isinstance(features, Joined):
        return all(_is_known(part) for part in features.parts)
    return isinstance(features, RadialBasis | AnovaBasis | Monomials) or bool(settings_of(features))


def _named_in_file(features: object) -> dict[str, Any]:
    """Return the settings of a network by their names in the file."""
    names = {f"network.{own}": name for name, own in _IN_FILE.items()}
    return {
        names.get(key, key.removeprefix("network.")): value
        for key, value in settings_of(features).items()
    }


def _weighing(weight: Any, arrays: Any) -> dict[str, Any]:
    """Return the weight of a member in a file: a number, or the name of one for each output."""
    if not isinstance(weight, str):
        return {"weight": weight}
    weights = torch.from_numpy(arrays[weight])
    return {"weight": float(weights.mean()), "weights": weights}


def _unpacked(entry: dict[str, Any], arrays: Any) -> FeatureExtractor:
    """Make features from the entry and arrays that `packed` wrote."""

    def tensor(name: str) -> Tensor:
        found = torch.from_numpy(arrays[entry[name]])
        if not found.isfinite().all():
            raise ValueError(f"its weights have {name} that are not finite")
        return found

    if "shares" in entry:
        centres, scales, shares = (tensor(name) for name in ("centres", "scales", "shares"))
        return AnovaBasis(centres, scales, shares, entry["kernel"])
    if "kernel" in entry:
        return RadialBasis(tensor("centres"), tensor("scales"), entry["kernel"])
    if "pairs" in entry:
        return Monomials(entry["n_in"], tensor("pairs"))
    if "parts" in entry:
        parts = [_unpacked(part, arrays) for part in entry["parts"]]
        return Joined(parts, tensor("shifts"), tensor("scales"))
    names = {name: _IN_FILE.get(name, name) for name in entry["settings"]}
    own = Network(**{names[name]: value for name, value in entry["settings"].items()})
    n_in, theta = entry["n_in"], tensor("theta")
    # Checked first: a network far larger than its parameters could fill the memory.
    fewest = own.width * (own.width * own.cells + n_in)
    if type(n_in) is not int or n_in < 1 or fewest > len(theta):
        raise ValueError(f"its weights have {len(theta)} parameters of another network")
    network = described(own, n_in).requires_grad_(False)
    vector_to_parameters(theta, network.parameters())
    return cast(FeatureExtractor, network)


def checksums(dataset: Dataset, rows: Sequence[int] | npt.NDArray[np.int64] | range) -> Checksums:
    """Return 8 bytes of a checksum of y, and of y and c together, for each sample, (n, 2).

    A known y with another c belongs to another fidelity: its error is not a training error.
    """
    found = np.empty((len(rows), 2), np.uint64)
    for i, row in enumerate(rows):
        y, c = (
            np.ascontiguousarray(values[row], "<f8").tobytes() for values in (dataset.Y, dataset.C)
        )
        for j, content in enumerate((y, y + c)):
            found[i, j] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return found
