# No "# syntax" line: what the daemon brings is enough, and saves a pull.
# The image of the action. Every part that comes from elsewhere is a stage of its own, so that a build without
# the public registries can bring it: --build-arg BASE=…, --build-context docker-cli=FOLDER.
ARG BASE=python:3.13-slim-trixie

FROM docker:28.5.2-cli AS docker-cli
FROM docker/buildx-bin:0.29.1 AS buildx
FROM ghcr.io/astral-sh/uv:0.13.4 AS uv

# The deployer and what it needs, from the locked requirements, in a virtual environment of its own.
FROM ${BASE} AS build
COPY --from=uv /uv /usr/local/bin/
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements/ requirements/
RUN uv venv --python /usr/local/bin/python3 /opt/flyte-deploy \
    && uv pip install --python /opt/flyte-deploy/bin/python --require-hashes -r requirements/runtime.txt
COPY tools/trim tools/
RUN tools/trim /opt/flyte-deploy
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
RUN uv build --python /usr/local/bin/python3 --wheel --out-dir /tmp/wheel \
        --require-hashes --build-constraint requirements/dev.txt . \
    && uv pip install --python /opt/flyte-deploy/bin/python --no-deps --no-index /tmp/wheel/*.whl \
    && rm -f /opt/flyte-deploy/bin/activate* \
    && /opt/flyte-deploy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/flyte-deploy/lib

FROM ${BASE} AS action
# git without its manual and without Perl, which only commands need that are not used here. Debian drops
# versions that have been superseded, so that pins would break: the base's digest says what this is.
# hadolint ignore=DL3008,DL4006
RUN apt-get update -qq \
    && libraries=$(apt-cache depends git | sed -n 's/^  Depends: \(lib.*\)$/\1/p' | grep -v perl) \
    && apt-get install -y -qq --no-install-recommends busybox-static ca-certificates $libraries \
    && cd /tmp && apt-get download -qq git && dpkg --force-depends -i git_*.deb && rm git_*.deb \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc /usr/share/man \
        /usr/share/gitweb /usr/share/git-core/contrib \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && python3 -m compileall -q "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
        -x '/(test|tests|idlelib|lib2to3|site-packages|dist-packages|turtledemo|ensurepip)/'
COPY --from=docker-cli /usr/local/bin/docker /usr/local/bin/
COPY --from=buildx /buildx /usr/local/lib/docker/cli-plugins/docker-buildx
COPY --from=uv /uv /usr/local/bin/
COPY --from=build /opt/flyte-deploy/ /opt/flyte-deploy/
COPY entrypoint.sh /entrypoint.sh

# The workflow's variables are there from the first instruction on. A static program takes those away that the
# loader would obey, then a shell that obeys none, then Python that obeys none.
ENTRYPOINT ["/bin/busybox", "env", "-u", "LD_PRELOAD", "-u", "LD_AUDIT", "-u", "LD_LIBRARY_PATH", "-u", "LD_DEBUG", "-u", "LD_DEBUG_OUTPUT", "-u", "LD_PROFILE", "-u", "LD_PROFILE_OUTPUT", "-u", "GCONV_PATH", "-u", "GLIBC_TUNABLES", "-u", "LOCPATH", "-u", "NLSPATH", "-u", "MALLOC_TRACE", "/entrypoint.sh"]
