"""Maps the source roots to packages and builds the native kernels; pyproject.toml has the rest."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import find_namespace_packages, setup

ROOTS = ("server", "kernels", "pipeline", "clients/python", "proto/gen/python")


def packages_of(root: str) -> dict[str, str]:
    names = find_namespace_packages(root, include=["tamis*"])
    return {name: f"{root}/{name.replace('.', '/')}" for name in names}


PACKAGES = {name: path for root in ROOTS for name, path in packages_of(root).items()}

setup(
    packages=sorted(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "": ["py.typed", "*.pyi"],
        "tamis_pipeline.configs": ["*.toml"],
        "tamis_pipeline.shop": ["bundle/**/*", "clip/*"],
        "tamis_server.adapters.remote": ["scripts/*.lua"],
    },
    ext_modules=[
        Pybind11Extension(
            "tamis_kernels._native",
            sorted(str(path) for path in Path("kernels/src").glob("*.cpp")),
            include_dirs=["kernels/include"],
            depends=sorted(
                str(path) for end in ("h", "inl") for path in Path("kernels").glob(f"*/*.{end}")
            ),
            cxx_std=17,
            # the baseline only: instruction-set variants are chosen at run time
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-Wall",
                "-Wextra",
            ],
        )
    ],
    cmdclass={"build_ext": build_ext},
)
