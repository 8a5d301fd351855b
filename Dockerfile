# Every image of Ropewalk: one per stage (--target stage --build-arg STAGE=collect), Airflow's, the command
# `ropewalk` (--target cli), and the demo's sources.
# What changes rarely comes first: a change of the code rebuilds the last layers alone, in seconds. The five stages share
# the kernel's layers. Behind a package index of your own: --build-arg INDEX_URL, or the secret "index" where it has a password.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/ropewalk/include \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    ROPEWALK_SECRETS_DIR=/run/secrets
RUN groupadd --gid 10001 ropewalk \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ropewalk \
 && install -d -o 10001 -g 10001 /var/lib/ropewalk /var/lib/ropewalk/store /var/lib/ropewalk/scratch /var/lib/ropewalk/data \
    /var/lib/ropewalk/airflow /var/lib/ropewalk/airflow/logs /var/lib/ropewalk/airflow/lineage \
 && python3 -m venv --without-pip /opt/venv
WORKDIR /opt/ropewalk

# uv, in the locked version, and what is to be installed; they are in no image that runs.
FROM ${PYTHON_IMAGE} AS tools
ARG INDEX_URL
COPY requirements.txt pyproject.toml /src/
RUN --mount=type=secret,id=index \
    index=$(cat /run/secrets/index 2>/dev/null || true); index=${index:-$INDEX_URL} \
 && mkdir /lock && awk '/^\[tool/ { exit } 1' /src/pyproject.toml > /lock/pyproject.toml \
 && grep -v '^ *#' /src/requirements.txt > /lock/requirements.txt \
 && awk '/^[a-z0-9]/ { mine = /^uv==/ } mine' /lock/requirements.txt > /tmp/uv.txt \
 && python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps --require-hashes --target /tools \
    ${index:+--index-url "$index"} -r /tmp/uv.txt
COPY containers/install.sh /tools/install

FROM base AS kernel
ARG INDEX_URL
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=tools,source=/lock,target=/lock \
    --mount=type=secret,id=index /tools/install kernel

# A stage: the kernel, and what the stage alone needs.
FROM kernel AS stage
ARG STAGE
ARG INDEX_URL
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=tools,source=/lock,target=/lock \
    --mount=type=secret,id=index /tools/install ${STAGE:?name a stage: --build-arg STAGE=collect}
COPY containers/healthy.py ./
COPY include/ropewalk/__init__.py include/ropewalk/
COPY include/ropewalk/contracts include/ropewalk/contracts
COPY include/ropewalk/kernel include/ropewalk/kernel
COPY include/ropewalk/${STAGE} include/ropewalk/${STAGE}
RUN python -m compileall -q include
ENV ROPEWALK_STAGE=${STAGE} \
    ROPEWALK_HOST=0.0.0.0 \
    ROPEWALK_PORT=8080 \
    ROPEWALK_FLIGHT_PORT=8815 \
    ROPEWALK_FLIGHT_URL=grpc://${STAGE}:8815 \
    ROPEWALK_STORE_URL=file:///var/lib/ropewalk/store \
    ROPEWALK_SCRATCH_DIR=/var/lib/ropewalk/scratch \
    ROPEWALK_ROOT_DATA=/var/lib/ropewalk/data
USER 10001:10001
EXPOSE 8080 8815
CMD ["sh", "-c", "exec python -m ropewalk.$ROPEWALK_STAGE"]

# The demo's sources: a weather service, and what lays out files and a database.
FROM kernel AS demo
ARG INDEX_URL
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=tools,source=/lock,target=/lock \
    --mount=type=secret,id=index /tools/install demo
COPY containers/healthy.py ./
COPY include/demo include/demo
RUN python -m compileall -q include
USER 10001:10001
EXPOSE 8080
CMD ["python", "-m", "demo.weather"]

# The command `ropewalk`: it asks Airflow and the stages, and reads the datasets that they hold.
FROM kernel AS cli
COPY include/ropewalk include/ropewalk
RUN python -m compileall -q include
USER 10001:10001
CMD ["python", "-m", "ropewalk.cli"]

# Airflow with Ropewalk's plugin and workflows; also what makes the secrets and the databases.
FROM base AS airflow
ARG INDEX_URL
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=tools,source=/lock,target=/lock \
    --mount=type=secret,id=index /tools/install airflow
COPY containers/healthy.py ./
COPY include/ropewalk include/ropewalk
COPY plugins plugins
COPY dags dags
RUN python -m compileall -q include plugins dags
ENV PYTHONPATH=/opt/ropewalk/include:/opt/ropewalk/plugins \
    AIRFLOW_HOME=/tmp/airflow \
    AIRFLOW_CONFIG=/run/secrets/airflow.cfg
USER 10001:10001
EXPOSE 8080
CMD ["airflow", "api-server"]
