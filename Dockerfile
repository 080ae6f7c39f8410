# syntax=docker/dockerfile:1
# Two images of one checkout (docs/deploy.md):
#   docker build --target server   --tag tamis:0.1.0          .   what serves: no compiler, no training library
#   docker build --target pipeline --tag tamis-pipeline:0.1.0 .   what trains, publishes and runs Ray jobs
ARG PYTHON=3.11
# what CI tests with; Debian 12 beneath

FROM python:${PYTHON}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ENV PIP_CACHE_DIR=/pip-cache PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /tamis

FROM build AS build-server
RUN --mount=type=cache,target=/pip-cache \
    /tamis/bin/pip install --constraint constraints.txt '.[clip,triton,s3]'

FROM build AS build-pipeline
RUN --mount=type=cache,target=/pip-cache \
    /tamis/bin/pip install --constraint constraints.txt '.[train,ray,s3]'

FROM python:${PYTHON}-slim-bookworm AS base
RUN groupadd --gid 10001 tamis \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tamis
# HOME: the root file system may be read-only, and is where the manifests run it
ENV PATH=/tamis/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
LABEL org.opencontainers.image.title=tamis \
    org.opencontainers.image.licenses=Apache-2.0
WORKDIR /tmp

FROM base AS pipeline
# KubeRay's probes ask by wget
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-pipeline /tamis /tamis
USER 10001:10001
ENTRYPOINT ["tamis"]

FROM base AS server
COPY --from=build-server /tamis /tamis
# the demo shop under a name that does not depend on Python's version
RUN ln -s "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tamis_pipeline/shop/bundle" /demo-bundle
USER 10001:10001
EXPOSE 50051 9464
ENTRYPOINT ["tamis"]
CMD ["serve"]
