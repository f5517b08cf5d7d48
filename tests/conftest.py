"""Options and small models shared by the tests."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run what takes minutes or the network")
    parser.addoption("--gpu", action="store_true", help="also run what needs a CUDA device")


def pytest_collection_modifyitems(config, items):
    for mark in ("slow", "gpu"):
        if not config.getoption(f"--{mark}"):
            skip = pytest.mark.skip(reason=f"needs --{mark}")
            for item in items:
                if mark in item.keywords:
                    item.add_marker(skip)
