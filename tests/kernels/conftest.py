"""Every kernel test runs at the reference and at each native level of this machine."""

from collections.abc import Iterator

import pytest

import tamis_kernels


@pytest.fixture(scope="module", autouse=True, params=tamis_kernels.available_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    name: str = request.param
    with tamis_kernels.with_level(name):
        yield name
