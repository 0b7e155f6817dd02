#!/bin/sh
# PostgreSQL's image runs this once, when it makes the database.
set -eu
sh /deploy/fill /deploy/postgresql/roles.sql > /tmp/roles.sql
psql --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --file=/tmp/roles.sql
rm /tmp/roles.sql
