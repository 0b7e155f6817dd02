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
# The home holds the keyring, the refreshers' spool, the audit's journals and checkpoints, and what RabbitMQ is to
# read; under /keys lies the part of the keyring that a role is given. Processes share some of it and not all, so each
# is a volume of its own, and a new volume belongs to whom its folder belongs to here: see compose.yaml.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/dispenser dispenser \
    && chmod 700 /var/lib/dispenser \
    && for folder in audit checkpoints rabbitmq spool; do \
        install --directory --mode=700 --owner=10001 --group=dispenser /var/lib/dispenser/$folder; done \
    && for role in serve gateway refresher scheduler janitor; do \
        install --directory --mode=700 --owner=10001 --group=dispenser /keys/$role; done
ENV DISPENSER_HOME=/var/lib/dispenser PYTHONUNBUFFERED=1
USER dispenser
WORKDIR /var/lib/dispenser
EXPOSE 8250
ENTRYPOINT ["dispenser"]
CMD ["--help"]
