# The server of `rankwright serve`, without PyTorch and transformers.
#
#   docker build -t rankwright .
#   docker run --rm --init --read-only -p 127.0.0.1:8080:8080 -v "$PWD/my-deployment:/model:ro" \
#     rankwright
#
# my-deployment is what `rankwright export` wrote. docs/deploy.md has more, compose.yaml a hardened service.

# Another address of the same image, such as your registry's mirror, may be given with --build-arg.
ARG BASE=docker.io/library/python:3.12.13-slim-trixie

FROM ${BASE} AS wheel
WORKDIR /source
# For the compiled library; where no package can be fetched, the wheel is made without it.
RUN apt-get update && apt-get install -y --no-install-recommends g++ \
    || echo "No compiler: models of the backend native will not run in this image."
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE} AS packages
# onnxruntime or openvino
ARG ENGINE=onnxruntime
COPY deploy/*.txt /requirements/
# The list is complete, so that --no-deps installs exactly what it names. The environment gets no
# pip, and its modules are compiled now: a read-only container could not keep what it compiles.
RUN python3 -m venv --without-pip /opt/rankwright \
    && pip --python /opt/rankwright/bin/python install --no-cache-dir --no-deps \
        --only-binary :all: -r "/requirements/requirements-${ENGINE}.txt"
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/rankwright/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /opt/rankwright/bin/python -c "import rankwright.cli.main, rankwright.serving.run, ${ENGINE}"

FROM ${BASE} AS server
ENV PATH=/opt/rankwright/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=packages /opt/rankwright /opt/rankwright
# A number, so that Kubernetes can tell that it is not root. It owns nothing and needs no home.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
# Not urllib, which would ask a proxy if the environment names one.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8080, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rankwright"]
# Other commands and flags: docker run rankwright verify /model --no-record
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8080"]

# The same with a model in it:
#   docker build --target with-model --build-arg MODEL=models/my-deployment -t my-reranker .
FROM server AS with-model
ARG MODEL=models/my-deployment
COPY ${MODEL} /model

# What a build without --target makes.
FROM server
