# The image of the action. Every part that comes from elsewhere is a stage of its own, so that a build without
# the public registries can bring it: --build-arg BASE=…, --build-context docker-cli=FOLDER. A release gives each
# of the arguments with the digest that its tag has then.
ARG BASE=python:3.13-slim-trixie
ARG DOCKER_CLI=docker:28.5.2-cli
ARG BUILDX=docker/buildx-bin:0.29.1
ARG UV=ghcr.io/astral-sh/uv:0.13.4

FROM ${DOCKER_CLI} AS docker-cli
FROM ${BUILDX} AS buildx
FROM ${UV} AS uv

# The deployer and what it needs, from the locked requirements, in a virtual environment of its own.
FROM ${BASE} AS build
COPY --from=uv /uv /usr/local/bin/
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements/ requirements/
RUN uv venv --python /usr/local/bin/python3 /opt/flyte-deploy \
    && uv pip install --python /opt/flyte-deploy/bin/python --require-hashes -r requirements/runtime.txt
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY tools/image-libraries tools/
RUN tools/image-libraries /opt/flyte-deploy \
    && rm -f /opt/flyte-deploy/.lock /opt/flyte-deploy/bin/activate* \
    && echo /opt/ours >"$(echo /opt/flyte-deploy/lib/python3*/site-packages)/ours.pth" \
    && /opt/flyte-deploy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/flyte-deploy/lib
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
RUN uv build --python /usr/local/bin/python3 --wheel --out-dir /tmp/wheel \
        --require-hashes --build-constraint requirements/dev.txt . \
    && uv pip install --target /opt/ours --python /opt/flyte-deploy/bin/python --no-deps --no-index /tmp/wheel/*.whl \
    && rm -rf /opt/ours/.lock /opt/ours/bin \
    && /opt/flyte-deploy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/ours

FROM ${BASE}
RUN --mount=type=bind,source=tools,target=/tmp/tools /tmp/tools/image-base
COPY --from=docker-cli /usr/local/bin/docker /usr/local/bin/
COPY --from=buildx --chmod=755 /buildx /usr/local/lib/docker/cli-plugins/docker-buildx
COPY --from=uv /uv /usr/local/bin/
COPY --from=build /opt/flyte-deploy/ /opt/flyte-deploy/
COPY --from=build /opt/ours/ /opt/ours/
COPY --chmod=755 entrypoint.sh /entrypoint.sh

# The workflow's variables are there from the first instruction on. A static program takes those away that the
# loader and the C library would obey (ld.so(8); one of them makes it do nothing, with success), then comes a shell
# that obeys none, then Python that obeys none.
ENTRYPOINT ["/bin/busybox", "env", "-u", "LD_AUDIT", "-u", "LD_BIND_NOT", "-u", "LD_BIND_NOW", "-u", "LD_DEBUG", "-u", "LD_DEBUG_OUTPUT", "-u", "LD_DYNAMIC_WEAK", "-u", "LD_HWCAP_MASK", "-u", "LD_LIBRARY_PATH", "-u", "LD_ORIGIN_PATH", "-u", "LD_PREFER_MAP_32BIT_EXEC", "-u", "LD_PRELOAD", "-u", "LD_PROFILE", "-u", "LD_PROFILE_OUTPUT", "-u", "LD_SHOW_AUXV", "-u", "LD_TRACE_LOADED_OBJECTS", "-u", "LD_VERBOSE", "-u", "LD_VERIFY", "-u", "LD_WARN", "-u", "GCONV_PATH", "-u", "GLIBC_TUNABLES", "-u", "LOCPATH", "-u", "NLSPATH", "-u", "MALLOC_TRACE", "/entrypoint.sh"]
