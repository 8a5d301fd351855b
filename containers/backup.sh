#!/bin/sh
# backup.sh FOLDER saves what cannot be made again: the databases (results, ledgers, Airflow's), then the datasets and
# the secrets. In this order: a dataset never changes, so whatever the databases name at that moment is saved after it.
set -eu
to=${1:?name the folder: make backup TO=backup/today}
compose="docker compose"
umask 077
mkdir -p "$to"
for database in ropewalk airflow; do
    $compose exec -T postgres pg_dump -U postgres --format custom "$database" >"$to/$database.dump.part"
    mv "$to/$database.dump.part" "$to/$database.dump"
done
$compose exec -T store python -IS - /var/lib/ropewalk/store <"$(dirname "$0")/save.py" >"$to/store.tar.part"
mv "$to/store.tar.part" "$to/store.tar"
tar -C "${ROPEWALK_SECRETS:-.ropewalk/containers}" -cf "$to/secrets.tar" .
printf 'saved %s\n' "$to"
