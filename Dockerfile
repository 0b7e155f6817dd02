# One image for every process of the vault: the command says which it is.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dispenser dispenser
COPY shared shared
COPY workers workers
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[server,postgres]'

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'token-dispenser[server,postgres]'
# The home holds the keyring, the refreshers' spool and the audit journal: they belong on a volume. What RabbitMQ
# is to read there is a volume too: it is shared.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/dispenser dispenser \
    && install --directory --owner=dispenser --group=dispenser /var/lib/dispenser/rabbitmq \
    && chmod 700 /var/lib/dispenser
ENV DISPENSER_HOME=/var/lib/dispenser PYTHONUNBUFFERED=1
USER dispenser
WORKDIR /var/lib/dispenser
VOLUME /var/lib/dispenser
EXPOSE 8250
ENTRYPOINT ["dispenser"]
CMD ["--help"]
