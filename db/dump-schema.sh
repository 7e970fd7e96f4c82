#!/bin/sh
# Writes db/schema.sql: what the migrations add up to, as pg_dump says it.
# Needs DATABASE_URL of a migrated database, and pg_dump.
set -eu
cd "$(dirname "$0")"
{
	echo '-- The whole schema, dumped from a migrated database by make schema. Do not edit.'
	pg_dump --schema-only --no-owner --exclude-table=schema_migrations "$DATABASE_URL" |
		grep -v -e '^-- Dumped' -e '^\\' -e '^SET [^c]' -e '^SELECT pg_catalog.set_config' | cat -s
} >schema.sql
