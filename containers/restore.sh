#!/bin/sh
# restore.sh FOLDER puts back what backup.sh saved, into a project that is up: all that is there now is replaced.
set -eu
from=${1:?name the folder: make restore FROM=backup/today}
compose="docker compose"
for file in ropewalk.dump airflow.dump store.tar; do
    [ -s "$from/$file" ] || { printf '%s/%s is missing\n' "$from" "$file" >&2; exit 1; }
done
workers="collect process analyze present airflow-api-server airflow-scheduler airflow-dag-processor airflow-triggerer"
# shellcheck disable=SC2086 # one word per service
$compose stop $workers
$compose exec -T store sh -c 'find /var/lib/ropewalk/store -mindepth 1 -delete && tar -C /var/lib/ropewalk/store -xf -' \
    <"$from/store.tar"
$compose stop store
for database in ropewalk airflow; do
    $compose exec -T postgres psql -q -U postgres -c "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database"
    $compose exec -T postgres pg_restore -U postgres --exit-on-error --dbname "$database" <"$from/$database.dump"
done
$compose up --wait --no-build # `databases` grants again what a database itself holds
printf 'restored %s\n' "$from"
