"""A data set and a network small enough to train within a second, and the command line to call."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Error, Page, sync_playwright
from rich.console import Console

from solq_maskcodec import masks_to_rle
from solq_model import SOLQ, ModelConfig, build_model
from solq_model.published.names import official_names
from solq_train.cli import main
from solq_train.config import DataConfig, OptimizerConfig, TrainConfig
from solq_train.criterion import LossConfig
from solq_train.data import annotation_mask, find_split, make_shapes, read_coco
from solq_train.run_file import write_run_file

# The networks here are so small that threads would mostly wait for each other.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Ran:
    """What a call of `solq` came to."""

    code: int
    output: str
    errors: str


Solq = Callable[..., Ran]


@dataclass
class CopiedSet:
    """A copy of the shapes that a test may spoil."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "train"

    @property
    def annotations(self) -> Path:
        return self.folder / "annotations" / "instances_train.json"

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Have a function change the training annotations."""
        document = json.loads(self.annotations.read_text())
        change(document)
        self.annotations.write_text(json.dumps(document))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training and 4 validation images of 64 pixels; each split has an empty and a crowd one."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(folder, num_train=8, num_val=4, image_size=64)
    return folder


@pytest.fixture
def copied_set(shapes: Path, tmp_path: Path) -> CopiedSet:
    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    return CopiedSet(folder)


@pytest.fixture(scope="session")
def small_model() -> ModelConfig:
    """One stage, one encoder and one decoder layer, 5 queries; with dropout, which draws chance."""
    return ModelConfig(
        backbone="resnet10_w32",
        backbone_norm="batch",
        frozen_stages=0,
        num_classes=3,
        num_queries=5,
        hidden_dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        feedforward_dim=32,
        encoder_points=1,
        decoder_points=1,
        num_feature_levels=2,
        dropout=0.1,
        num_coefficients=16,
        mask_size=32,
        vector_hidden_dim=16,
    )


@pytest.fixture(scope="session")
def small_config(small_model: ModelConfig) -> TrainConfig:
    """Two epochs of two steps; a line of metrics for each step."""
    return TrainConfig(
        model=small_model,
        data=DataConfig(
            short_sides=(64,), eval_short_side=64, max_size=96, crop=0.0, num_workers=0
        ),
        loss=LossConfig(),
        optimizer=OptimizerConfig(learning_rate=1e-3, batch_size=4, epochs=2),
        device="cpu",
        log_every=1,
        top_k=5,
    )


@pytest.fixture(scope="session")
def two_stage_config(small_config: TrainConfig) -> TrainConfig:
    """With all that the published recipe leaves off."""
    return replace(
        small_config,
        model=replace(
            small_config.model,
            two_stage=True,
            query_selection="mixed",
            decoder_layers=2,
            first_mask_layer=1,
            whitened_vectors=True,
            dropout=0.0,
        ),
        loss=LossConfig(vector_space="whitened", mask_weight=2.0),
    )


@pytest.fixture(scope="session")
def run_file(small_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file that makes every recipe the small one."""
    path = tmp_path_factory.mktemp("run_file") / "small.json"
    write_run_file(path, small_config)
    return path


@pytest.fixture
def console() -> Console:
    """A console that is no terminal; `console.file` has what was printed."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def solq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Solq:
    """The command line in this process: arguments → exit code and what was printed."""
    monkeypatch.setenv("COLUMNS", "240")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "SOLQ_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained(shapes: Path, run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the command line; not to be changed."""
    output = tmp_path_factory.mktemp("runs") / "small"
    arguments = ["train", "--recipe", "tiny_cpu", "--config", run_file]
    assert main([str(a) for a in (*arguments, "--data", shapes, "--output", output)]) == 0
    return output


@pytest.fixture(scope="session")
def two_runs(
    trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of finished runs, the second of which found everything; not to be changed."""
    return _make_runs(trained, shapes, tmp_path_factory.mktemp("two"))


@pytest.fixture
def own_runs(trained: Path, shapes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same, to be changed."""
    return _make_runs(trained, shapes, tmp_path)


def _make_runs(trained: Path, shapes: Path, folder: Path) -> tuple[Path, Path]:
    first, second = folder / "plain", folder / "perfect"
    for run in (first, second):
        shutil.copytree(trained, run, ignore=shutil.ignore_patterns("last", "best", "earlier"))
    coco = read_coco(find_split(shapes, "val").annotations)
    found = [
        {
            "image_id": image.id,
            "category_id": item.category_id,
            "bbox": list(item.bbox_xywh),
            "segmentation": masks_to_rle(annotation_mask(item, (64, 64))[None])[0],
            "score": 1.0,
        }
        for image in coco.images
        for item in image.annotations
        if not item.is_crowd
    ]
    (second / "detections.json").write_text(json.dumps(found))
    config = json.loads((second / "config.json").read_text())
    config["seed"] = 7
    config["optimizer"]["learning_rate"] = 0.5
    (second / "config.json").write_text(json.dumps(config))
    return first, second


# Those of the system are tried first: playwright's own takes a download.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """A page in a headless browser, and what it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def goto(self, place: Path | str) -> Page:
        """The page of a file or an address, loaded."""
        self.page.goto(place.resolve().as_uri() if isinstance(place, Path) else place)
        return self.page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium that this machine has; the test is skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    # As root, in a container, its sandbox cannot be set up.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
        except Error as error:
            pytest.skip(f"no Chromium to open pages with: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """An empty page; the test fails if it logs an error, throws one or cannot load something."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    seen = Opened(page)
    page.on("console", lambda m: seen.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("requestfailed", lambda request: seen.complaints.append(f"failed: {request.url}"))
    yield seen
    page.close()
    assert seen.complaints == []


@pytest.fixture
def published(small_model: ModelConfig, tmp_path: Path) -> Path:
    """A file as the published code writes it, with 24 class slots."""
    model = build_model(replace(small_model, num_classes=24, backbone_norm="frozen"))
    path = tmp_path / "published.pth"
    args = argparse.Namespace(lr=2e-4, nheads=small_model.num_heads)
    torch.save({"model": published_state(model), "args": args, "epoch": 49}, path)
    return path


def published_state(model: SOLQ) -> dict[str, torch.Tensor]:
    """The weights by their published names."""
    return {
        name: tensor
        for ours, tensor in model.state_dict().items()
        for name in official_names(ours, model.config)
    }
