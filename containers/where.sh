#!/bin/sh
# Says where the containers are to be reached, and what opens them.
set -eu
case ${COMPOSE_FILE:-} in *tls*) scheme=https ;; *) scheme=http ;; esac
secrets=${ROPEWALK_SECRETS:-.ropewalk/containers}/secrets
password=$(sed 's/.*: "\(.*\)".*/\1/' "$secrets/airflow-api-server/passwords.json")
key=$(cat "$secrets/present/ropewalk_view_token")
printf '\n  %-16s %s\n' Airflow "http://127.0.0.1:${ROPEWALK_AIRFLOW_PORT:-8080}" "user, password" "admin  $password" \
    Reports "$scheme://127.0.0.1:${ROPEWALK_PRESENT_PORT:-8085}/reports/?key=$key" Stop "make compose-down" | sed '/^$/d'
