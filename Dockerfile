# The agent's image for those who have a registry and a builder: docker build -t REGISTRY/ovnlet:v1 .
# `python -m testbed.images` makes the same image without either; tests/integration/testbed/test_dockerfile.py holds the two together.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS plugin
RUN apt-get update && apt-get install -y --no-install-recommends gcc make musl-tools
COPY pyproject.toml /src/
COPY cni/plugin/Makefile cni/plugin/ovnlet.c /src/cni/plugin/
RUN make -C /src/cni/plugin

FROM ${BASE} AS code
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-venv
RUN python3 -m venv /tools
COPY pyproject.toml README.md LICENSE /src/
COPY operator /src/operator
COPY cni/ovnlet_cni /src/cni/ovnlet_cni
# As Debian's Python looks for it, with bytecode that nobody checks against dates.
RUN site=/out/usr/local/lib/python$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')/dist-packages \
    && /tools/bin/pip install -q --no-compile --target "$site" /src \
    && mkdir -p /out/usr/local/bin \
    && { echo '#!/usr/bin/python3'; tail -n +2 "$site/bin/ovnlet"; } > /out/usr/local/bin/ovnlet \
    && chmod 755 /out/usr/local/bin/ovnlet \
    && rm -r "$site/bin" \
    && python3 -m compileall -q --invalidation-mode=unchecked-hash -s /out -p / /out
COPY --from=plugin /src/cni/plugin/ovnlet /out/opt/ovnlet/bin/ovnlet

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=code /out /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
ENTRYPOINT ["/usr/bin/python3", "-P", "-m", "ovnlet"]
